# SPDX-License-Identifier: Apache-2.0
"""Losses."""

from sfg_med.losses.joint import JointLoss
from sfg_med.losses.tasks import ImageLoss, LabelLoss

__all__ = ["ImageLoss", "JointLoss", "LabelLoss"]
