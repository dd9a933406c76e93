# SPDX-License-Identifier: Apache-2.0
"""Do the files of one case belong together: the same grid, and only label values that mean something?"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from sfg_med.data.volumes import Volume
from sfg_med.errors import SfgMedError

# Part of a voxel by which the corners of two equal grids may differ: rounding of headers, never a registration.
TOLERANCE = 0.01


def check_same_grid(volume: Volume, reference: Volume) -> None:
    """Refuse a volume that does not lie voxel on voxel with the input image.

    Raises:
        SfgMedError: naming both files.
    """
    remedy = f"resample it onto the grid of {reference.path}"
    if volume.array.shape != reference.array.shape:
        expected = f"{_size(reference)} voxels as in {reference.path.name}"
        raise SfgMedError(volume.path, expected, f"{_size(volume)} voxels", remedy)
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.subtract(reference.array.shape, 1)
    shift = np.linalg.norm((corners @ (volume.affine - reference.affine).T)[:, :3], axis=1).max()
    if shift > TOLERANCE * min(reference.spacing_mm):
        expected = f"the affine of {reference.path.name}"
        raise SfgMedError(volume.path, expected, f"corners up to {shift:.3g} mm away", remedy)


def check_label_values(volume: Volume, allowed: Collection[int]) -> None:
    """Refuse a label map with a value that has no name: a wrong label set would be trained as background.

    Args:
        volume: the label map.
        allowed: values of the label set; 0, the background, is always allowed.

    Raises:
        SfgMedError: naming the first such value and the allowed ones.
    """
    known = sorted({0, *allowed})
    strange = volume.array[~np.isin(volume.array, known)]
    if strange.size:
        expected = f"the label values {', '.join(map(str, known))}"
        found = f"{strange.min():g} (in {strange.size} voxels)"
        remedy = "name it in the config's labels, or set the dataset's other_labels: background"
        raise SfgMedError(volume.path, expected, found, remedy)


def _size(volume: Volume) -> str:
    return " x ".join(map(str, volume.array.shape))
