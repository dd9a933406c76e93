# SPDX-License-Identifier: Apache-2.0
"""Outlines of a mask in one plane; holes are joined to their outline by keyholes.

Points lie half-way between the centres of voxels inside and outside (marching squares at 0.5): whether the centre of a
voxel is inside the outline is whether the voxel is in the mask, whatever rule the reader has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

Points = NDArray[np.float64]


def closed_outlines(mask: NDArray[Any]) -> list[Points]:
    """Polygons of a mask, one for each part (voxels that touch with their sides).

    A part with holes is one polygon that goes to each hole and back on the same line, between two rows of voxels. Source:
    DICOM PS3.3, C.8.8.6.3 ("keyhole").

    Args:
        mask: (rows, columns) of 0 and 1.

    Returns:
        (N, 2) row and column of the points of each polygon; the first point is not repeated at the end.
    """
    parts, _ = ndimage.label(mask)
    found = []
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        part = np.pad(parts[box] == number, 1)
        corner = np.array([box[0].start - 1, box[1].start - 1], np.float64)
        rings = [ring[:-1] for ring in find_contours(part.astype(np.float64), 0.5, fully_connected="low")]
        rings.sort(key=_area, reverse=True)
        found.append(_joined(rings[0], rings[1:]) + corner)
    return found


def _area(ring: Points) -> float:
    row, column = ring.T
    return 0.5 * abs(float(row @ np.roll(column, 1) - column @ np.roll(row, 1)))


def _joined(outer: Points, holes: list[Points]) -> Points:
    """Holes from the top down, and from the right where two begin in one row: what a ray to the right meets first
    is then the outline, or a hole that was joined to it before.
    """
    starts = []
    for hole in holes:
        top = hole[:, 0].min()
        start = int(np.flatnonzero(hole[:, 0] == top)[hole[hole[:, 0] == top, 1].argmax()])
        starts.append((top, -hole[start, 1], start, hole))
    for _, _, start, hole in sorted(starts, key=lambda entry: entry[:2]):
        ring = np.roll(hole, -start, axis=0)
        after, point = _first_met(outer, ring[0])
        outer = np.concatenate([outer[: after + 1], point[None], ring, ring[:1], point[None], outer[after + 1 :]])
    return outer


def _first_met(polygon: Points, start: Points) -> tuple[int, Points]:
    """Where a ray to the right meets a polygon first: the side (by its first point) and the point."""
    first, second = polygon, np.roll(polygon, -1, axis=0)
    (row0, column0), (row1, column1) = first.T, second.T
    crosses = (np.minimum(row0, row1) <= start[0]) & (start[0] <= np.maximum(row0, row1))
    rise = row1 - row0
    level = rise == 0
    share = np.where(level, 0.0, (start[0] - row0) / np.where(level, 1.0, rise))
    column = np.where(level, np.minimum(column0, column1), column0 + share * (column1 - column0))
    column = np.where(crosses & (column > start[1]), column, np.inf)
    side = int(column.argmin())
    return side, np.array([start[0], column[side]])
