# SPDX-License-Identifier: Apache-2.0
"""Losses."""

from sfg_med.losses.joint import JointLoss
from sfg_med.losses.tasks import ClassLoss, ImageLoss, LabelLoss, TaskLoss, ValueLoss, task_loss
from sfg_med.losses.weighting import WEIGHTINGS, bounded_log_variance, make_weighting

__all__ = [
    "WEIGHTINGS",
    "ClassLoss",
    "ImageLoss",
    "JointLoss",
    "LabelLoss",
    "TaskLoss",
    "ValueLoss",
    "bounded_log_variance",
    "make_weighting",
    "task_loss",
]
