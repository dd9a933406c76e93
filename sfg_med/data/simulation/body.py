# SPDX-License-Identifier: Apache-2.0
"""Outline of the body: fascia around the muscles, skin outside it, gluteal cleft, thighs, genitals."""

from __future__ import annotations

import numpy as np

from sfg_med.data.simulation.bones import trochanter
from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.shapes import Points, ellipsoid, ramp, smooth_max, smooth_min, table, tube
from sfg_med.data.simulation.space import Box, Space, whole

# Half width, front and back of the fascia of the trunk (mm) at heights z.
_Z = (-60.0, -20.0, 20.0, 60.0, 110.0, 165.0)
_WIDTH = (160.0, 163.0, 157.0, 150.0, 146.0, 138.0)
_FRONT = (58.0, 62.0, 70.0, 77.0, 80.0, 82.0)
_BACK = (-88.0, -96.0, -101.0, -101.0, -99.0, -97.0)
_PENIS = ((0, 4, -58), (0, 26, -62), (0, 54, -50), (3, 72, -56), (6, 78, -76), (8, 74, -102))
_PENIS_RADII = (8.0, 10.0, 10.5, 11.0, 11.5, 10.5)


def _superellipse(p: tuple[Array, Array], centre: Array, half: tuple[Array, Array], power: float) -> Array:
    """First-order distance to ``|x/a|^n + |(y - c)/b|^n = 1`` in the axial plane."""
    u = np.abs(p[0]) / half[0] + np.float32(1e-4)
    v = np.abs(p[1] - centre) / half[1] + np.float32(1e-4)
    un, vn = u ** np.float32(power - 1), v ** np.float32(power - 1)
    gauge = (un * u + vn * v) ** np.float32(1 / power)
    slope = np.hypot(un / half[0], vn / half[1]) * gauge ** np.float32(1 - power)
    return np.asarray((gauge - 1) / np.maximum(slope, np.float32(1e-4)), np.float32)


def _trunk(p: Points) -> Array:
    x, y, z = p
    front, back = table(z, _Z, _FRONT), table(z, _Z, _BACK)
    sides = _superellipse((x, y), (front + back) / 2, (table(z, _Z, _WIDTH), (front - back) / 2), 2.9)
    perineum = -68 + np.float32(0.04) * y - z
    return smooth_max(sides, perineum, 28.0)


def _thigh(p: Points) -> Array:
    x, y, z = p
    centre_x, centre_y = 93 - 0.06 * (-60 - z), table(z, (-120, -50, 0), (-3, -12, -18))
    wide, deep = table(z, (-120, -50, 0), (67, 72, 60)), table(z, (-120, -50, 0), (67, 74, 74))
    tilted = x - centre_x - np.float32(0.10) * (y - centre_y)  # the inner thighs diverge backward
    return smooth_max(_superellipse((tilted, y), centre_y, (wide, deep), 2.3), z + 8, 24.0)


class Body:
    """Distances to the fascia and to the skin for every voxel.

    Args:
        space: the man's coordinates.
        man: his parameters.
    """

    def __init__(self, space: Space, man: Man) -> None:
        self.box: Box = whole(space)
        p = space.still
        both = (np.abs(p[0]), p[1], p[2])
        bulk = np.float32(1.4 * (man.muscle_mm - 4.5))  # wasted or athletic; the trunk follows less than the thighs
        fascia = smooth_min(_trunk(p) - 0.5 * bulk, _thigh(both) - bulk, 10.0)
        fascia = smooth_min(fascia, trochanter(both, man) - 5, 12.0)
        flat = 0.35 * p[1] + 0.65 * space.flat_y
        self.fascia = smooth_max(fascia, np.float32(man.table_mm + 9) - flat, 18.0)
        thick = self._fat(p, man) * (1 + np.float32(0.10) * space.noise("fat", 80.0))
        skin = smooth_max(self.fascia - thick, np.float32(man.table_mm) - flat, 16.0)
        self.genitals = self._genitals(p, man.genital_shift_mm)
        skin = smooth_min(skin, self.genitals, 8.0)
        self.skin = np.maximum(skin, -self._cleft(p, man))

    @staticmethod
    def _fat(p: Points, man: Man) -> Array:
        """Thickness of the subcutaneous fat: thick on belly and buttocks, thin inside the thighs."""
        x, y, z = p
        front, outer = ramp(y, 20, 70), ramp(np.abs(x), 60, 140)
        upper = ramp(z, -80, 10)
        belly = 0.45 + (man.belly - 0.45) * ramp(z, -85, 25)
        buttock = 0.25 + 0.95 * ramp(z, -95, -35)
        thick = front * belly + (1 - front) * (outer * (0.55 + 0.45 * upper) + (1 - outer) * buttock)
        return np.asarray(man.fat_mm * thick, np.float32)

    @staticmethod
    def _cleft(p: Points, man: Man) -> Array:
        x, y, z = p
        depth = table(z, (-90, -60, -30, 0, 30, 40), (62, 46, 29, 15, 4, -6))
        bottom = y - (np.float32(man.table_mm) + depth)
        opening = np.float32(0.2) + 3 * np.exp((man.table_mm - y) / np.float32(5.0))
        opening = opening + np.float32(0.25) * np.clip(-55 - z, 0, 60)
        return np.maximum(np.abs(x) - opening, bottom)

    @staticmethod
    def _genitals(p: Points, shift_mm: tuple[float, float]) -> Array:
        scrotum = ellipsoid(p, (2 + 0.5 * shift_mm[0], 40 + shift_mm[1], -96), (37, 27, 28))
        return smooth_min(scrotum, penis(p, shift_mm) - 3, 5.0)


def penis(p: Points, shift_mm: tuple[float, float]) -> Array:
    """Distance to the erectile bodies, from the bulb in the perineum to the front; the free end shifts."""
    x, y = shift_mm
    moved = [(a + f * x, b + f * y, c) for (a, b, c), f in zip(_PENIS, (0, 0, 0, 0.4, 0.8, 1.3), strict=True)]
    return tube(p, moved, _PENIS_RADII)


def bulb(p: Points, size: float) -> Array:
    """Distance to the bulb of the penis, under the perineal membrane in the midline."""
    return ellipsoid(p, (0, 3, -60), (9.5 * size, 16 * size, 9 * size))


def testis(p: Points, forward_mm: float) -> Array:
    """Distance to a testis, for lateral-positive x."""
    return ellipsoid(p, (18, 38 + forward_mm, -98), (13, 16, 20))
