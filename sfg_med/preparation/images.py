# SPDX-License-Identifier: Apache-2.0
"""Between the project's volumes (RAS, arrays ``(X, Y, Z)``) and SimpleITK images (LPS), which the filters work on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import DTypeLike, NDArray

from sfg_med.data.nifti import geometry_header
from sfg_med.data.volumes import Volume, write_volume
from sfg_med.errors import SfgMedError

Image = sitk.Image
# NIfTI's world is RAS, that of ITK is LPS.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
# Direction cosines further than this from right angles are a sheared grid, which ITK has no word for.
_SHEAR = 1e-3
_SCANNER = 1


def to_image(volume: Volume) -> Image:
    """A volume as a float32 image whose voxel axes run closest to right, anterior and superior; nothing is resampled.

    Raises:
        SfgMedError: if the voxel axes are not at right angles (a tilted gantry).
    """
    spacing = np.asarray(volume.spacing_mm)
    cosines = (_FLIP @ volume.affine)[:3, :3] / spacing
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > _SHEAR:
        found = "a sheared grid (a tilted gantry?)"
        raise SfgMedError(volume.path, "voxel axes at right angles", found, "resample it to a straight grid first")
    left, _, right = np.linalg.svd(cosines)  # the nearest orthonormal matrix: headers are rounded
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array.T, dtype=np.float32))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((left @ right).ravel().tolist())
    image.SetOrigin((_FLIP @ volume.affine)[:3, 3].tolist())
    return sitk.DICOMOrient(image, "RAS")


def write_image(path: Path, image: Image, dtype: DTypeLike) -> None:
    """Write ``.nii.gz`` as all volumes of the project are written: geometry only, whole or not at all."""
    array = array_of(image)
    affine = affine_of(image)
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, _SCANNER)
    header.set_qform(affine, _SCANNER)
    like = Volume(array, affine, geometry_header(header, array.shape), array.shape, path)
    write_volume(path, array, like, dtype)


def affine_of(image: Image) -> NDArray[np.float64]:
    """Voxel index to RAS millimetres, ``(4, 4)``."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return _FLIP @ affine


def array_of(image: Image) -> NDArray[Any]:
    """Voxels ``(X, Y, Z)``; a view of a copy."""
    return sitk.GetArrayFromImage(image).T


def image_like(array: NDArray[Any], like: Image) -> Image:
    """Voxels ``(X, Y, Z)`` as an image in the grid of another one; booleans become uint8."""
    voxels = array.astype(np.uint8) if array.dtype == bool else array
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.CopyInformation(like)
    return image
