# SPDX-License-Identifier: Apache-2.0
"""Read MetaImage and NRRD with SimpleITK, and turn ITK's LPS world into NIfTI's RAS."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from sfg_med.data.checks import check_affine, check_shape, check_zooms
from sfg_med.errors import SfgMedError

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_SCANNER = 1


def read_itk(
    path: Path, role: str
) -> tuple[NDArray[np.generic], NDArray[np.float64], nib.Nifti1Header, tuple[int, ...]]:
    """Read voxels, affine in RAS millimetres, a NIfTI header of the geometry, and shape as stored.

    Args:
        path: a ``.mha``, ``.mhd``, ``.nrrd`` or ``.nhdr`` file.
        role: what the file is, for messages.

    Raises:
        SfgMedError: for anything that is not one well-formed volume.
    """
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _check_voxels(path, reader.GetNumberOfComponents(), sitk.GetPixelIDValueAsString(reader.GetPixelID()))
        check_shape(path, tuple(reader.GetSize()), role)
        check_zooms(path, np.asarray(reader.GetSpacing()[:3]))
        image = reader.Execute()
    except RuntimeError as error:
        raise SfgMedError(
            path, f"a readable {role} image", f"a damaged one ({_reason(error)})", "export it again"
        ) from error
    shape = tuple(int(n) for n in image.GetSize())
    affine = _ras_affine(image)
    check_affine(path, affine, check_shape(path, shape, role))
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_sform(affine, _SCANNER)
    header.set_qform(affine, _SCANNER)
    array = sitk.GetArrayFromImage(image).T  # a copy: a view dies with the image
    return array, affine, header, shape


def _ras_affine(image: object) -> NDArray[np.float64]:
    dimensions = image.GetDimension()  # type: ignore[attr-defined]
    cosines = np.reshape(image.GetDirection(), (dimensions, dimensions))[:3, :3]  # type: ignore[attr-defined]
    affine = np.eye(4)
    affine[:3, :3] = cosines * np.asarray(image.GetSpacing()[:3])  # type: ignore[attr-defined]
    affine[:3, 3] = image.GetOrigin()[:3]  # type: ignore[attr-defined]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _check_voxels(path: Path, components: int, kind: str) -> None:
    if components != 1 or "complex" in kind or "vector" in kind:
        found = f"{components} of type {kind}"
        raise SfgMedError(path, "one real number a voxel", found, "give one channel a file")


def _reason(error: RuntimeError) -> str:
    """What is worth telling of ITK's many-line message: the last line; MetaIO's "Reason" is a guess of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Reason: ")] or ["unknown reason"]
    return re.sub(r"^.*ERROR: |\w+\(0x\w+\): |^\[nrrd\] ", "", lines[-1])[:150]
