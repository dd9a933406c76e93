# SPDX-License-Identifier: Apache-2.0
"""Random streams and smooth random fields that are functions of position, not of the voxel grid."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# The lattice is larger than any field of view, so that the same knots serve every grid.
EXTENT_MM = (290.0, 230.0, 190.0)
# Mean over position of the sum of squared cubic B-spline weights: integral of the squared spline.
_POWER = 151.0 / 315.0


class Streams:
    """Independent random generators by name, all determined by one seed.

    Naming the streams keeps a man the same when a part is added to the simulation.

    Args:
        entropy: non-negative integers, for example ``(seed, case_number)``.
    """

    def __init__(self, entropy: Sequence[int]) -> None:
        self.entropy = tuple(int(e) for e in entropy)

    def __call__(self, name: str) -> np.random.Generator:
        """Return the generator of stream ``name``, always from its start."""
        return np.random.default_rng(np.random.SeedSequence([*self.entropy, zlib.crc32(name.encode())]))


def spline_weights(
    positions_mm: NDArray[np.floating], knot_mm: float, start_mm: float
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Cubic B-spline weights of equidistant knots from ``start_mm`` on.

    Returns:
        The first knot that counts for each position, ``(n,)``; weights of it and the next three, ``(n, 4)``.
    """
    u = (np.asarray(positions_mm, np.float64) - start_mm) / knot_mm
    whole = np.floor(u)
    t = u - whole
    weights = (((1 - t) ** 3), 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return whole.astype(np.intp) - 1, (np.stack(weights, axis=1) / 6).astype(np.float32)


def smooth_noise(
    generator: np.random.Generator, axes_mm: Sequence[NDArray[np.floating]], knot_mm: float | Sequence[float]
) -> NDArray[np.float32]:
    """Evaluate Gaussian noise of unit variance, smooth over about two knots, on a rectilinear grid.

    The noise is a cubic B-spline on a lattice of independent normal numbers, held at the lattice's edges.

    Args:
        generator: source of the lattice; the same generator state gives the same function on every grid.
        axes_mm: positions along the three axes.
        knot_mm: knot distance, one number or one for each axis.

    Returns:
        Array of shape ``(len(x), len(y), len(z))``.
    """
    knot = np.broadcast_to(np.asarray(knot_mm, float), (3,))
    counts = [int(np.ceil(2 * e / k)) + 4 for e, k in zip(EXTENT_MM, knot, strict=True)]
    field = generator.standard_normal(counts, dtype=np.float32) / np.float32(_POWER**1.5)
    taps = [
        spline_weights(np.clip(a, -e, e), float(k), -e - k) for a, k, e in zip(axes_mm, knot, EXTENT_MM, strict=True)
    ]
    field = field[tuple(slice(first.min(), first.max() + 4) for first, _ in taps)]
    for axis, (first, weights) in enumerate(taps):
        shape = [-1 if a == axis else 1 for a in range(3)]
        start = first - first.min()
        total = np.take(field, start, axis) * weights[:, 0].reshape(shape)
        for k in range(1, 4):
            part = np.take(field, start + k, axis)
            part *= weights[:, k].reshape(shape)
            total += part
        field = total
    return field
