# SPDX-License-Identifier: Apache-2.0
"""Overlap and surface distance of one organ, through MONAI.

An organ that the reference does not have cannot be scored: Dice and HD95 are NaN, and means leave them out.
An organ that the reference has and the prediction lacks has Dice 0 and no surface to measure: HD95 is NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from numpy.typing import ArrayLike, NDArray


def organ_dice(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Dice of two binary masks ``(X, Y, Z)``; NaN where the reference is empty."""
    predicted, expected = _crop(prediction, reference)
    if not expected.any():
        return math.nan
    return float(compute_dice(_tensor(predicted), _tensor(expected), include_background=True).item())


def organ_hd95_mm(prediction: ArrayLike, reference: ArrayLike, spacing_mm: Sequence[float]) -> float:
    """95th percentile of the surface distances in mm, the larger of the two directions.

    Args:
        prediction: binary mask, ``(X, Y, Z)``.
        reference: binary mask on the same grid.
        spacing_mm: voxel size along each array axis.

    Returns:
        Distance in mm, or NaN where either mask is empty.
    """
    predicted, expected = _crop(prediction, reference)
    if not (expected.any() and predicted.any()):
        return math.nan
    with warnings.catch_warnings():
        # MONAI 1.6 warns about a deprecated argument that MONAI itself passes.
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_hausdorff_distance(
            _tensor(predicted),
            _tensor(expected),
            include_background=True,
            percentile=95,
            spacing=[float(size) for size in spacing_mm],
        )
    return float(distance.item())


def organ_surface_dice(
    prediction: ArrayLike, reference: ArrayLike, spacing_mm: Sequence[float], tolerance_mm: float
) -> float:
    """Part of both surfaces that lies within a distance of the other one.

    Args:
        prediction: binary mask, ``(X, Y, Z)``.
        reference: binary mask on the same grid.
        spacing_mm: voxel size along each array axis.
        tolerance_mm: the distance; a surface voxel (one with a neighbour outside) at exactly it counts as near.

    Returns:
        0 to 1; NaN where the reference is empty, 0 where only the prediction is.
    """
    predicted, expected = _crop(prediction, reference)
    if not expected.any():
        return math.nan
    if not predicted.any():
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        score = compute_surface_dice(
            _tensor(predicted),
            _tensor(expected),
            class_thresholds=[float(tolerance_mm)],
            include_background=True,
            spacing=[float(size) for size in spacing_mm],
        )
    return float(score.item())


def score_organs(
    prediction: ArrayLike, reference: ArrayLike, labels: Mapping[str, int], spacing_mm: Sequence[float]
) -> dict[str, tuple[float, float]]:
    """Dice and HD95 (mm) of each named label of two label maps ``(X, Y, Z)``."""
    predicted, expected = np.asarray(prediction), np.asarray(reference)
    scores = {}
    for name, value in labels.items():
        pair = predicted == value, expected == value
        scores[name] = organ_dice(*pair), organ_hd95_mm(*pair, spacing_mm)
    return scores


def _crop(prediction: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Keep the box around both masks: the scores are the same and MONAI copies far less."""
    predicted, expected = np.asarray(prediction, dtype=bool), np.asarray(reference, dtype=bool)
    if predicted.shape != expected.shape:
        raise ValueError(f"shapes differ: {predicted.shape}, {expected.shape}")
    either = predicted | expected
    box = []
    for axis in range(either.ndim):
        hit = np.flatnonzero(either.any(axis=tuple(a for a in range(either.ndim) if a != axis)))
        box.append(slice(hit[0], hit[-1] + 1) if hit.size else slice(0, 1))
    return predicted[tuple(box)], expected[tuple(box)]


def _tensor(mask: NDArray[np.bool_]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask))[None, None].float()
