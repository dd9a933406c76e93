# SPDX-License-Identifier: Apache-2.0
"""Small findings of many men: calcified spots in the prostate and in pelvic veins, enlarged lymph nodes."""

from __future__ import annotations

import numpy as np

from sfg_med.data.simulation import organs
from sfg_med.data.simulation.painter import LEFT, RIGHT, Painter
from sfg_med.data.simulation.shapes import Point, ellipsoid
from sfg_med.spec import PELVIS_LABELS


def paint_calcifications(painter: Painter) -> None:
    """Calcified spots of 1-3 mm between transition and peripheral zone; they stay part of the prostate."""
    man, rng = painter.man, painter.space.streams("calcifications")
    (cx, cy, cz), (rx, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    for _ in range(man.calcifications):
        x, z = rng.uniform(-0.5, 0.5, 2)
        centre = (cx + x * rx, cy - rng.uniform(0.2, 0.55) * ry, cz + z * rz)
        radii = rng.uniform(1.0, 3.0, 3).tolist()
        box = painter.space.box([centre], 4)
        if box is not None:
            p = painter.space.at(box)
            spot = np.maximum(ellipsoid(p, centre, radii), organs.prostate(p, man) + 2)
            painter.canvas.paint(box, spot, painter.looks["calcification"], PELVIS_LABELS["prostate"])


def paint_phleboliths(painter: Painter) -> None:
    """Calcified clots in the veins beside bladder and rectum."""
    rng = painter.space.streams("phleboliths")
    for _ in range(painter.man.phleboliths):
        centre = (rng.uniform(36, 48), rng.uniform(-38, 0), rng.uniform(-15, 15))
        _spot(painter, centre, (rng.uniform(1.2, 3.0),) * 3, "calcification", rng.choice((LEFT, RIGHT)))


def paint_nodes(painter: Painter) -> None:
    """Lymph nodes along the external iliac vessels and in the obturator fossa."""
    rng = painter.space.streams("nodes")
    for _ in range(painter.man.nodes):
        z = rng.uniform(-5, 60)
        centre = (np.interp(z, (-5, 60), (54, 42)), np.interp(z, (-5, 60), (26, 8)) + rng.normal(0, 4), z)
        _spot(painter, centre, rng.uniform(2.5, 6.5, 3).tolist(), "stroma", rng.choice((LEFT, RIGHT)))


def _spot(painter: Painter, centre: Point, radii: Point, tissue: str, side: int) -> None:
    painter.part([centre], max(radii) + 1, lambda p: ellipsoid(p, centre, radii), tissue, side=side)
