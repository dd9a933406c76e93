# SPDX-License-Identifier: Apache-2.0
"""Order of a series's slices, and the grid that they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.dicom.slices import Slice

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def heights(slices: Sequence[Slice]) -> NDArray[np.float64]:
    """(N,) millimetres of each slice along the normal of the first one; all must be placed."""
    return np.array([slice_.position for slice_ in slices], np.float64) @ slices[0].normal


def in_order(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    """Slices along their normal (as ITK and GDCM sort them), whatever the files' names and numbers say."""
    height = heights(slices)
    return tuple(slices[i] for i in np.argsort(height, kind="stable"))


def ras_affine(slices: Sequence[Slice]) -> NDArray[np.float64]:
    """(4, 4) voxel (column, row, slice) to RAS millimetres of slices in order.

    The third axis goes from the first position to the last one, so that a tilted gantry is kept as a shear. Source:
    DICOM PS3.3, C.7.6.2.1.1.
    """
    first, last = (np.array(s.position, np.float64) for s in (slices[0], slices[-1]))
    between_rows, between_columns = slices[0].spacing_mm or (1.0, 1.0)
    cosines = np.array(slices[0].orientation, np.float64)
    affine = np.eye(4)
    affine[:3, 0] = cosines[:3] * between_columns
    affine[:3, 1] = cosines[3:] * between_rows
    affine[:3, 2] = (last - first) / (len(slices) - 1) if len(slices) > 1 else slices[0].normal
    affine[:3, 3] = first
    return LPS_TO_RAS @ affine
