# SPDX-License-Identifier: Apache-2.0
"""Bladder, prostate, seminal vesicles, rectum and anal canal: distances in template coordinates (mm)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from sfg_med.data.simulation.bones import sacrum_front_mm
from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Array, Streams
from sfg_med.data.simulation.shapes import Point, Points, ellipsoid, ramp, smooth_max, smooth_min, tube

RECTUM_TOP_MM = 58.0  # where the rectum turns into the sigmoid colon


def bladder(p: Points, man: Man) -> Array:
    """Distance to the outer wall of the bladder: flatter or dented on top, lowest point at the neck."""
    centre, radii = man.bladder_centre_mm, man.bladder_radii_mm
    body = ellipsoid(p, centre, radii)
    tilt = (p[1] - np.float32(centre[1])) * np.float32(0.25)
    dome = p[2] - np.float32(centre[2] + 0.86 * radii[2]) - tilt
    body = smooth_max(body, np.asarray(dome, np.float32), min(8.0, 0.6 * radii[2]))
    if man.bladder_dent > 0:  # bowel lies on it
        ball = 0.6 * radii[0]
        top = centre[2] + 0.86 * radii[2]
        side = 0.3 * radii[0] * np.sign(man.bladder_shift_mm[0])
        loop = ellipsoid(p, (centre[0] + side, centre[1], top + ball - 0.5 * man.bladder_dent * radii[2]), (ball,) * 3)
        body = smooth_max(body, -loop, min(8.0, 0.6 * radii[2]))
    return body


def bladder_wall_mm(man: Man) -> float:
    """Thickness of the bladder's wall: thick when empty."""
    return float(np.clip(4.6 - 0.9 * np.log(man.bladder_ml / 40.0), 2.2, 4.8))


def prostate(p: Points, man: Man) -> Array:
    """Distance to the prostate: a chestnut, narrow at the apex, slightly hollow behind, perhaps with a median lobe."""
    (cx, cy, cz), (rx, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    up = np.clip((p[2] - np.float32(cz)) / np.float32(rz), -1, 1)
    taper = 1 + np.float32(man.prostate_taper) * up
    groove = np.float32(0.09 * ry) * np.exp(-(((p[0] - np.float32(cx)) / np.float32(0.35 * rx)) ** 2))
    y = p[1] - np.float32(cy)
    y = y - groove * ramp(y, 0.0, -0.6 * ry)
    x = p[0] - np.float32(cx)
    x = x / (1 + np.float32(man.prostate_skew) * np.tanh(x / np.float32(0.4 * rx)))
    moved = (x / taper, y / taper, p[2] - np.float32(cz))
    gland = np.asarray(ellipsoid(moved, (0, 0, 0), (rx, ry, rz)) * taper, np.float32)
    if man.median_lobe > 0:
        size = 0.30 + 0.2 * man.median_lobe
        lobe = ellipsoid(p, (cx, cy, cz + rz * (0.85 + 0.3 * man.median_lobe)), (size * rx, size * ry, size * rz))
        gland = smooth_min(gland, lobe, 5.0)
    return gland


def prostate_back_mm(man: Man, up: float) -> float:
    """y of the back of the prostate in its middle plane; ``up`` runs from -1 at the apex to 1 at the base."""
    (cx, cy, cz), (_, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    y = np.linspace(cy - 1.3 * ry, cy, 60, dtype=np.float32)
    inside = prostate((np.full_like(y, cx), y, np.full_like(y, cz + up * rz)), man) < 0
    return float(y[int(np.argmax(inside))]) if inside.any() else cy


def transition_zone(p: Points, man: Man) -> Array:
    """Distance to transition and central zone: above and before the peripheral zone, and all of a median lobe."""
    (cx, cy, cz), (rx, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    share = float(np.clip(0.60 + 0.1 * np.log2(man.prostate_ml / 20.0) + man.inner_share, 0.52, 0.9))
    centre = (cx, cy + (0.95 - share) * ry, cz + (0.9 - share) * rz)
    inner = ellipsoid(p, centre, (share * rx, share * 1.02 * ry, share * 1.05 * rz))
    if man.median_lobe > 0:
        inner = np.minimum(inner, np.float32(cz + 0.8 * rz) - p[2])
    return inner


def front_stroma(p: Points, man: Man) -> Array:
    """Distance to the anterior fibromuscular stroma."""
    (cx, cy, cz), (rx, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    return ellipsoid(p, (cx, cy + 0.92 * ry, cz), (0.55 * rx, 0.22 * ry, 0.85 * rz))


def urethra(p: Points, man: Man) -> Array:
    """Distance to the urethra, from the bladder neck through the prostate to the bulb."""
    (cx, cy, cz), (_, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    points = (
        (cx, cy + 0.15 * ry, cz + rz),
        (cx, cy - 0.05 * ry, cz),
        (cx, cy + 0.1 * ry, cz - rz),
        (0, 8, -56),
    )
    return tube(p, points, (3.0, 2.6, 2.4, 2.4))


def seminal_vesicle(p: Points, man: Man) -> Array:
    """Distance to a seminal vesicle (x lateral): a lobed sac behind the bladder's base."""
    (_, cy, cz), (_, ry, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    y, z, v = cy - 0.75 * ry - 4, cz + 0.86 * rz, man.vesicle
    long = 0.6 + 0.4 * v
    points = ((4, y, z), (13, y - 3, z + 4), (13 + 9 * long, y - 5, z + 7), (13 + 19 * long, y - 9, z + 13))
    return tube(p, points, (max(3.5 * v, 2.6), 5.2 * v, 5.8 * v, 4.2 * v))


@dataclass(frozen=True)
class Gut:
    """A tube with a smooth centre line that rises monotonically.

    Args:
        points: centre line, ``(n, 3)`` mm, ascending z.
        radii: outer radii, ``(n,)`` mm.
    """

    points: np.ndarray
    radii: np.ndarray

    def distance(self, p: Points) -> Array:
        """Signed distance to the outer wall."""
        return tube(p, [tuple(q) for q in self.points], [float(r) for r in self.radii])

    def height(self, p: Points) -> Array:
        """How far in front of the centre line a position is, in radii: gas collects above (supine)."""
        z = self.points[:, 2]
        middle = np.interp(p[2], z, self.points[:, 1])
        radius = np.interp(p[2], z, self.radii)
        return np.asarray((p[1] - middle) / radius, np.float32)


def rectum_course(man: Man, streams: Streams) -> Gut:
    """Course of the rectum: behind the prostate, then along the hollow of the sacrum.

    Its front wall touches the prostate with 2 mm of fat between (Denonvilliers' fascia).
    """
    rng = streams("rectum")
    (_, _, cz), (_, _, rz) = man.prostate_centre_mm, man.prostate_radii_mm
    r = man.ampulla_mm
    low, middle, high = 9.5, max(0.78 * r, 8.0), r
    apex, back, base = (prostate_back_mm(man, up) for up in (-0.8, 0.05, 0.6))
    side = np.clip(rng.normal(0.0, (1.5, 3.0, 6.5, 9.0)) * man.rectal_sway, -24, 24)
    nodes = np.array(
        [
            (0.0, min(apex, back + 3.0) - low - 2.0, cz - 0.80 * rz),
            (side[0], back - middle - 2.0, cz + 0.05 * rz),
            (side[1], min(base, back) - high - 10.0, cz + 1.15 * rz),  # behind the seminal vesicles
            (side[2], -57.0 + 0.2 * r, 34.0),
            (side[3], -44.0, RECTUM_TOP_MM + 6),
        ]
    )
    nodes[2, 2] = min(nodes[2, 2], 20.0)
    radii = np.array([low, middle, high, 0.80 * r + 1.5, min(0.62 * r + 3.0, 18.0)])
    for node, limit in ((1, back - 2), (2, min(base, back) - 3), (3, np.inf)):  # between prostate and sacrum
        behind = sacrum_front_mm(nodes[node, 2]) + 4
        radii[node] = max(min(radii[node], (limit - behind) / 2), 7.5)
        nodes[node, 1] = np.clip(nodes[node, 1], behind + radii[node], limit - radii[node])
    t = np.linspace(0, 1, 5)
    fine = np.linspace(0, 1, 21)
    points = CubicSpline(t, nodes, bc_type="natural")(fine)
    points[:, 2] = PchipInterpolator(t, nodes[:, 2])(fine)
    return Gut(points, PchipInterpolator(t, radii)(fine))


def resting_on(gut: Array, gland: Array) -> Array:
    """Distance to a gut that bulges forward to within 2 mm of the prostate, where the gap is not wide.

    Args:
        gut: distance to the gut.
        gland: distance to the prostate.
    """
    gap = gut + gland
    bulge = np.minimum(gap - 2, np.float32(5.0 / 9.0) * (16 - gap))
    return np.asarray(gut - np.clip(bulge, 0, None), np.float32)


def balloon(man: Man) -> tuple[Point, Point] | None:
    """Centre and semi-axes (mm) of the balloon of an endorectal coil, behind the prostate; None without a coil."""
    if not man.endorectal_coil:
        return None
    (cx, cy, cz), (_, ry, _) = man.prostate_centre_mm, man.prostate_radii_mm
    front, behind = cy - ry - 3.0, sacrum_front_mm(cz - 10.0) + 6.0
    cube = man.sphere_mm(man.balloon_ml) ** 3
    usual = (cube / 1.7) ** (1 / 3)
    deep = min(0.85 * usual, max((front - behind) / 2, 9.0))
    wide = min(float(np.sqrt(cube / (deep * 2.0))), 33.0)
    high = min(cube / (deep * wide), 50.0)
    return (0.6 * cx, front - deep, max(cz + 4.0, high - 56.0)), (wide, deep, high)  # above the perineum


def anal_canal(p: Points, course: Gut) -> Array:
    """Distance to the anal canal with its sphincters, from the end of the rectum to the skin."""
    _, y, z = (float(v) for v in course.points[0])
    end: Point = (0.0, y - 20.0, -84.0)
    return tube(p, ((0, y, z), (0, y - 6, z - 12), end), (10.0, 12.5, 13.0))
