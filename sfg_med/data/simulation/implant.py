# SPDX-License-Identifier: Apache-2.0
"""A hip implant: metal ball, cup and stem."""

from __future__ import annotations

import numpy as np

from sfg_med.data.simulation import bones
from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.painter import LEFT, RIGHT, Painter
from sfg_med.data.simulation.shapes import Points, halfspace, tube
from sfg_med.spec import PELVIS_LABELS


def metal(p: Points, man: Man) -> Array:
    """Distance to ball, cup and stem of an implant of usual size, for lateral x."""
    ball = bones.head(p, man)
    cup = np.maximum(ball - 5.0, halfspace(p, (bones.HIP_X, 0, 0), (0.72, 0.28, -0.62)))
    axis, *shaft = bones.shaft_points(man)
    stem = tube(p, ((bones.HIP_X, 0, 0), axis, *shaft[:2]), (8.0, 9.0, 6.5, 4.5))
    return np.minimum(np.minimum(ball, cup), stem)


def paint_implant(painter: Painter) -> None:
    """Paint the implant over the bones, if the man has one, and keep its distance for the MR artefact.

    The label of the femoral head stays the ball.
    """
    man, space = painter.man, painter.space
    if not man.hip_implant:
        return
    side = LEFT if man.hip_implant == "left" else RIGHT
    far = 70.0
    box = space.box([(bones.HIP_X - 30, -30, -140), (bones.HIP_X + 60, 30, 30)], far, side, still=True)
    if box is None:
        return
    p = space.at(box, side, still=True)
    distance = metal(p, man)
    painter.canvas.paint(box, distance, painter.looks["metal"])
    painter.canvas.label[box][bones.head(p, man) < 0] = PELVIS_LABELS[f"femoral_head_{man.hip_implant}"]
    painter.metal = np.full(space.shape, far, np.float32)
    painter.metal[box] = np.minimum(distance, far)
