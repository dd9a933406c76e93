# SPDX-License-Identifier: Apache-2.0
"""What holds the organs of the small pelvis: levator ani, the urethral sphincter, veins around the prostate.

Levator ani is a funnel that hangs from the side walls of the pelvis and lies on prostate and anorectal junction with a
few millimetres of fat and veins between: men have little fat beside the prostate. It is open in front, behind the
symphysis, where the dorsal venous complex lies (Stoker, Best Pract Res Clin Gastroenterol 23:463, 2009).
"""

from __future__ import annotations

import numpy as np

from sfg_med.data.simulation import organs
from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.painter import Painter
from sfg_med.data.simulation.shapes import Points, ellipsoid, ramp, smooth_min, table, tube

# Height of the line along the side wall from which levator ani hangs, at y from the ischial spine to the pubis (mm).
_ARCH_Y, _ARCH_Z = (-60.0, -38.0, 0.0, 32.0), (-4.0, 4.0, -1.0, -12.0)
_FRONT_MM = 33.0  # behind the symphysis
_BOTTOM_MM = -56.0  # perineal membrane
SPHINCTER_MM = 8.0


def levator(p: Points, man: Man, course: organs.Gut) -> Array:
    """Distance to levator ani; symmetric but for the organs that it holds."""
    (cx, cy, cz), (rx, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    low = course.points[:, 2] < cz + 0.6 * rz
    gut = organs.Gut(course.points[low], course.radii[low])
    held = smooth_min(organs.prostate(p, man), np.minimum(gut.distance(p), organs.anal_canal(p, course)), 8.0)
    front = ((cx, cy + 0.45 * ry, cz - 0.1 * rz), (0.0, _FRONT_MM + 8, cz - 0.1 * rz))
    held = smooth_min(held, tube(p, front, (0.5 * rx, 0.35 * rx)), 8.0)
    held = smooth_min(held, sphincter(p, man), 6.0)
    coil = organs.balloon(man)
    if coil is not None:
        held = smooth_min(held, ellipsoid(p, *coil), 6.0)
    arch = table(p[1], _ARCH_Y, _ARCH_Z)
    # upward it leaves the organs and runs to the side wall
    gap = np.float32(man.floor_gap_mm) + np.float32(1.3) * np.clip(p[2] - arch + 9, 0, None)
    sheet = np.abs(held - gap - np.float32(man.floor_mm)) - np.float32(man.floor_mm)
    return np.maximum(np.maximum(sheet, p[2] - arch - 4), np.maximum(_BOTTOM_MM - p[2], p[1] - _FRONT_MM))


def sphincter(p: Points, man: Man) -> Array:
    """Distance to the external sphincter of the urethra, between the apex of the prostate and the bulb of the penis."""
    (cx, cy, cz), (_, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    return tube(p, ((cx, cy + 0.1 * ry, cz - 0.85 * rz), (0.0, 8.0, -53.0)), (SPHINCTER_MM, SPHINCTER_MM))


def paint_pelvic_floor(painter: Painter, course: organs.Gut) -> None:
    """Levator ani and the sphincter of the urethra."""
    corners = [(-46.0, -75.0, _BOTTOM_MM), (46.0, _FRONT_MM, 8.0)]
    box = painter.space.box(corners, 6)
    if box is None:
        return
    p = painter.space.at(box)
    rough = np.float32(0.7) * painter.space.noise("levator", 14.0, box)
    painter.canvas.paint(box, levator(p, painter.man, course) + rough, painter.looks["muscle"])
    painter.canvas.paint(box, sphincter(p, painter.man), painter.looks["stroma"])


def paint_plexus(painter: Painter) -> None:
    """Veins around the prostate: thin beside it, thick before it, where the dorsal venous complex is."""
    man, space = painter.man, painter.space
    centre, radii = np.array(man.prostate_centre_mm), np.array(man.prostate_radii_mm)
    box = space.box([centre - radii, centre + radii], 16)
    if box is None or man.plexus <= 0:
        return
    p = space.at(box)
    before = ramp(p[1], centre[1], centre[1] + 0.9 * radii[1])
    beside = ramp(p[1], centre[1] - 0.9 * radii[1], centre[1] - 0.4 * radii[1])
    thick = np.float32(man.plexus) * (1.5 * beside + 5.5 * before * ramp(np.abs(p[0]), 26, 14))
    veins = np.clip(0.5 + 0.5 * space.noise("plexus", 5.0, box), 0, 1)
    shell = organs.prostate(p, man) - thick
    painter.canvas.paint(box, np.maximum(shell, p[2] - centre[2] - 0.9 * radii[2]), painter.mix("fat", "blood", veins))
