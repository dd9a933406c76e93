# SPDX-License-Identifier: Apache-2.0
"""Metrics of synthesised images and organs, on plain arrays."""

from sfg_med.metrics.case import Column, case_dice_mean, columns, reference_in_unit, score_task
from sfg_med.metrics.cohort import bootstrap_interval, rank_cases, statistics, trivial_mae, voxel_counts
from sfg_med.metrics.detail import TISSUES, Detail, detail_columns, tissue_mae
from sfg_med.metrics.image import (
    BONE_HU,
    DEFINITIONS,
    SYNTHRAD2023_RANGE,
    SYNTHRAD2025_RANGE,
    bone_mae,
    masked_mae,
    psnr_db,
    ssim,
)
from sfg_med.metrics.ms_ssim import ms_ssim
from sfg_med.metrics.organs import organ_dice, organ_hd95_mm, organ_surface_dice, score_organs

__all__ = [
    "BONE_HU",
    "DEFINITIONS",
    "SYNTHRAD2023_RANGE",
    "SYNTHRAD2025_RANGE",
    "TISSUES",
    "Column",
    "Detail",
    "bone_mae",
    "bootstrap_interval",
    "case_dice_mean",
    "columns",
    "detail_columns",
    "masked_mae",
    "ms_ssim",
    "organ_dice",
    "organ_hd95_mm",
    "organ_surface_dice",
    "psnr_db",
    "rank_cases",
    "reference_in_unit",
    "score_organs",
    "score_task",
    "ssim",
    "statistics",
    "tissue_mae",
    "trivial_mae",
    "voxel_counts",
]
