# SPDX-License-Identifier: Apache-2.0
"""What a coil in the rectum and metal in the hip do to the MR signal."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import find_objects, map_coordinates

from sfg_med.data.simulation import organs
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.painter import Painter
from sfg_med.data.simulation.shapes import ellipsoid, ramp


def add_flare(painter: Painter) -> None:
    """Brighten the signal near the balloon of an endorectal coil: times ``1 + a exp(-d / b)``, d the distance.

    a is 1.5 to 6, b 12 to 25 mm (choices).
    """
    found = organs.balloon(painter.man)
    if found is None:
        return
    rng = painter.space.streams("flare")
    gain, reach = rng.uniform(1.5, 6.0), rng.uniform(12.0, 25.0)
    distance = np.clip(ellipsoid(painter.space.points, *found), 0, None)
    painter.canvas.mr *= 1 + np.float32(gain) * np.exp(-distance / np.float32(reach))


def add_void(painter: Painter, spacing_mm: tuple[float, ...]) -> None:
    """Distort the signal around metal along x, and extinguish it within some millimetres with a bright rim.

    Displacement of up to 5-12 mm that falls off over 15 mm, void of 5-11 mm beyond the metal (choices).
    """
    if painter.metal is None:
        return
    rng = painter.space.streams("metal artefact")
    width, shift = rng.uniform(5.0, 11.0), rng.uniform(5.0, 12.0) * rng.choice((-1.0, 1.0))
    slices = find_objects((painter.metal < 69).astype(np.uint8))[0]
    distance, signal = painter.metal[slices], painter.canvas.mr[slices]
    waves = painter.space.noise("metal artefact waves", 28.0, slices)
    moved = np.clip(1 + 0.5 * waves, 0, 2) * np.exp(-np.clip(distance, 0, None) / 15) * ramp(distance, 69, 50)
    x, y, z = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in signal.shape), indexing="ij", sparse=True)
    where = np.broadcast_arrays(x + moved * np.float32(shift / spacing_mm[0]), y, z)
    warped = map_coordinates(signal, where, order=1, mode="nearest")
    edge = distance - np.float32(width) * (1 + 0.35 * waves)
    rim = 1 + np.float32(1.2) * np.exp(-(((edge - 3) / 2.5) ** 2)) * (0.5 + 0.5 * np.tanh(waves))
    painter.canvas.mr[slices] = _void(edge) * rim * warped


def _void(edge: Array) -> Array:
    return ramp(edge, -1.5, 1.5)
