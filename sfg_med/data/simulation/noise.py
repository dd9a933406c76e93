# SPDX-License-Identifier: Apache-2.0
"""Random streams and smooth random fields that are functions of position, not of the voxel grid."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# The lattice is larger than any field of view, so that the same knots serve every grid.
EXTENT_MM = (260.0, 210.0, 180.0)
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


def spline_weights(positions_mm: NDArray[np.floating], knot_mm: float, knots: int, start_mm: float) -> Array:
    """Cubic B-spline weights ``(len(positions), knots)`` of equidistant knots from ``start_mm`` on."""
    u = (np.asarray(positions_mm, np.float64)[:, None] - start_mm) / knot_mm - np.arange(knots)
    a = np.abs(u)
    near = 2.0 / 3.0 - a**2 + 0.5 * a**3
    far = np.clip(2.0 - a, 0.0, None) ** 3 / 6.0
    return np.where(a < 1.0, near, far).astype(np.float32)


def smooth_noise(
    generator: np.random.Generator, axes_mm: Sequence[NDArray[np.floating]], knot_mm: float | Sequence[float]
) -> Array:
    """Evaluate Gaussian noise of unit variance, smooth over about two knots, on a rectilinear grid.

    The noise is a cubic B-spline on a lattice of independent normal numbers; its sums are matrix products.

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
    for axis in range(3):
        start = -EXTENT_MM[axis] - 1.5 * knot[axis]
        weights = spline_weights(axes_mm[axis], float(knot[axis]), counts[axis], start)
        field = np.tensordot(
            field, weights, axes=(0, 1)
        )  # the new axis goes last: after three turns all are back
    return np.ascontiguousarray(field, dtype=np.float32)
