# SPDX-License-Identifier: Apache-2.0
"""Paint the labelled organs of the pelvis and what belongs to them."""

from __future__ import annotations

import numpy as np

from sfg_med.data.simulation import organs
from sfg_med.data.simulation.painter import LEFT, RIGHT, Painter
from sfg_med.data.simulation.shapes import ellipsoid, smooth_min
from sfg_med.spec import PELVIS_LABELS


def paint_vesicles(painter: Painter) -> None:
    """Seminal vesicles, behind bladder and prostate."""
    man, space = painter.man, painter.space
    _, y, z = man.prostate_centre_mm
    for side in (LEFT, RIGHT):
        box = space.box([(0.0, y - 60, z), (48.0, y, z + 70)], 8, side)
        if box is not None:
            vesicle = organs.seminal_vesicle(space.at(box, side), man) + 1.4 * space.noise("vesicle", 7.0, box)
            painter.canvas.paint(box, vesicle, painter.looks["stroma"])
            painter.canvas.paint(box, vesicle + 1.3, painter.looks["seminal_vesicle"])


def paint_bladder(painter: Painter) -> None:
    """Bladder: wall and urine, one label."""
    man, space = painter.man, painter.space
    centre, radii = np.array(man.bladder_centre_mm), np.array(man.bladder_radii_mm)
    box = space.box([centre - radii, centre + radii], 10)
    if box is None:
        return
    outer = organs.bladder(space.at(box), man) + min(man.bladder_rough, 0.1 * radii[2]) * space.noise(
        "bladder", 32.0, box
    )
    painter.canvas.paint(box, outer, painter.looks["bladder_wall"], PELVIS_LABELS["bladder"])
    wall = organs.bladder_wall_mm(man) * (1 + 0.2 * space.noise("bladder wall", 25.0, box))
    painter.canvas.paint(box, outer + wall, painter.looks["urine"], PELVIS_LABELS["bladder"])


def paint_prostate(painter: Painter) -> None:
    """Prostate: capsule, peripheral and transition zone, anterior stroma, urethra."""
    man, space, label = painter.man, painter.space, PELVIS_LABELS["prostate"]
    centre, radii = np.array(man.prostate_centre_mm), np.array(man.prostate_radii_mm)
    box = space.box([centre - radii, centre + radii], 26)
    if box is None:
        return
    p, paint = space.at(box), painter.canvas.paint
    gland = organs.prostate(p, man) + np.float32(0.045 * radii[1]) * space.noise("prostate", 20.0, box)
    paint(box, gland, painter.looks["stroma"], label)
    speckle = np.clip(0.25 + 0.25 * space.noise("peripheral zone", 6.0, box), 0, 0.8)
    paint(
        box,
        gland + 1.0,
        painter.mix("peripheral_zone", "transition_zone", speckle),
        label,
    )
    inner = np.maximum(organs.transition_zone(p, man), gland + 1.5)
    paint(box, inner, painter.looks["stroma"], label)
    nodules = np.clip(0.42 + 0.45 * space.noise("nodules", 8.0, box), 0, 1)
    paint(box, inner + 1.1, painter.mix("stroma", "peripheral_zone", nodules), label)
    paint(box, np.maximum(organs.front_stroma(p, man), gland), painter.looks["stroma"], label)
    tube_ = organs.urethra(p, man)
    paint(box, np.maximum(tube_, gland), painter.looks["mucosa"], label)
    paint(box, np.maximum(np.maximum(tube_, -gland), p[2] - centre[2]), painter.looks["mucosa"])


def paint_rectum(painter: Painter, course: organs.Gut) -> None:
    """Rectum: wall, mucosa, stool and gas, one label; below it the anal canal."""
    man, space, label = painter.man, painter.space, PELVIS_LABELS["rectum"]
    corners = [tuple(float(v) for v in q) for q in course.points] + [(0.0, -70.0, -90.0)]
    box = space.box(corners, max(float(course.radii.max()), 36.0 if man.endorectal_coil else 0.0))
    if box is None:
        return
    p, paint = space.at(box), painter.canvas.paint
    canal = organs.anal_canal(p, course)
    paint(box, canal, painter.looks["muscle"])
    paint(box, canal + 7.5, painter.looks["mucosa"])
    gut = course.distance(p) + 1.2 * space.noise("rectum", 22.0, box)
    outer = organs.resting_on(gut, organs.prostate(p, man))
    coil = organs.balloon(man)
    if coil is not None:
        bag = ellipsoid(p, *coil)
        outer = smooth_min(outer, bag - np.float32(3.0), 6.0)
    outer = np.maximum(outer, p[2] - organs.RECTUM_TOP_MM)
    paint(box, outer, painter.looks["gut_wall"], label)
    paint(box, outer + 2.4, painter.looks["mucosa"], label)
    lumen = outer + 3.6
    grain = np.clip(man.stool + 0.35 * space.noise("stool", 7.0, box), 0, 1)
    paint(box, lumen, painter.mix("mucosa", "stool", grain), label)
    radius = np.float32(man.ampulla_mm)
    level = (np.float32(man.rectal_gas) - course.height(p)) * radius + 3.0 * space.noise("gas", 12.0, box)
    paint(box, np.maximum(lumen, level), painter.looks["gas"], label)
    if coil is not None:
        paint(box, bag, painter.looks[man.endorectal_coil], label)
