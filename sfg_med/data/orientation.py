# SPDX-License-Identifier: Apache-2.0
"""The patient's axes."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def to_ras(array: Array, affine: Array) -> tuple[Array, tuple[float, float, float]]:
    """Flip and swap the axes of a volume so that they run closest to right, anterior and superior.

    Args:
        array: voxels, ``(X, Y, Z)``.
        affine: voxel to RAS millimetres, ``(4, 4)``.

    Returns:
        A view with axes R, A, S, and its voxel size along them in mm. Nothing is resampled.
    """
    orientation = nib.orientations.io_orientation(affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    turned = nib.orientations.apply_orientation(array, orientation)
    along = [float(spacing[int(np.flatnonzero(orientation[:, 0] == axis)[0])]) for axis in range(3)]
    return turned, (along[0], along[1], along[2])
