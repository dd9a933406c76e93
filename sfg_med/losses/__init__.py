# SPDX-License-Identifier: Apache-2.0
"""Losses."""

from sfg_med.losses.joint import JointLoss
from sfg_med.losses.tasks import ClassLoss, ImageLoss, LabelLoss, ValueLoss, task_loss

__all__ = ["ClassLoss", "ImageLoss", "JointLoss", "LabelLoss", "ValueLoss", "task_loss"]
