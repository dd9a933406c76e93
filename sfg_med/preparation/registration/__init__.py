# SPDX-License-Identifier: Apache-2.0
"""Moving a CT onto an MR: rigid by SimpleITK, then deformable by elastix or SimpleITK, and how well it went."""

from sfg_med.preparation.registration.alignment import KINDS, Alignment, align
from sfg_med.preparation.registration.engines import ENGINES, Engine, choose_engine

__all__ = ["ENGINES", "KINDS", "Alignment", "Engine", "align", "choose_engine"]
