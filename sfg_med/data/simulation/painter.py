# SPDX-License-Identifier: Apache-2.0
"""What the steps of painting a man share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.shapes import Point, Points
from sfg_med.data.simulation.space import Canvas, Look, Space

RIGHT, LEFT = 1, -1


@dataclass
class Painter:
    """Everything that the steps share.

    Args:
        space: the man's coordinates.
        man: his parameters.
        canvas: MR, CT, tissues and labels so far.
        looks: uniform MR signal, CT number and number of each tissue.
        metal: distance (mm, at most 70) to an implant, on the whole grid; None without one.
    """

    space: Space
    man: Man
    canvas: Canvas
    looks: dict[str, Look]
    metal: Array | None = None

    def part(
        self,
        corners: Sequence[Point],
        reach_mm: float,
        shape: Callable[[Points], Array],
        tissue: str,
        side: int = RIGHT,
        still: bool = False,
    ) -> None:
        """Paint a part of one tissue within ``reach_mm`` of the box around ``corners``.

        ``shape`` gets positions with x lateral, on either side, and returns the signed distance;
        ``still``: positions without the tilt of the pelvis.
        """
        box = self.space.box(corners, reach_mm, side, still)
        if box is not None:
            self.canvas.paint(box, shape(self.space.at(box, side, still)), self.looks[tissue])

    def mix(self, first: str, second: str, share: Array | float) -> Look:
        """Look of a mixture with volume share ``share`` of the second tissue, which dominates above one half."""
        a, b = self.looks[first], self.looks[second]
        tissue = np.where(np.asarray(share) > 0.5, b.tissue, a.tissue).astype(np.uint8)
        return Look(a.mr + (b.mr - a.mr) * share, a.ct + (b.ct - a.ct) * share, tissue)
