# SPDX-License-Identifier: Apache-2.0
"""Read a 3D image with its place in the patient, and write results in exactly the same grid."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from sfg_med.data.atomic import atomic_path
from sfg_med.data.checks import check_affine, check_shape, check_values
from sfg_med.data.itk_volumes import ITK_SUFFIXES, read_itk
from sfg_med.data.nifti import NIFTI_SUFFIXES, geometry_header, read_nifti
from sfg_med.data.stored_bytes import check_regular
from sfg_med.errors import SfgMedError

VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)


@dataclass(frozen=True)
class Volume:
    """A 3D image and what is needed to write another one in its grid.

    Args:
        array: (X, Y, Z) integers as stored, or float32.
        affine: (4, 4) voxel index to RAS millimetres.
        header: NIfTI header with the geometry only: grid, sform and qform with their codes, unit of length.
        shape: shape as stored: (X, Y, Z), or with further axes of length one.
        path: where it was read from.
        format: ``"nifti"``, ``"itk"`` or ``"dicom"``.
        notes: flags on the geometry, such as ``"no_orientation"``.
    """

    array: NDArray[np.generic] = field(repr=False)
    affine: NDArray[np.float64]
    header: nib.Nifti1Header = field(repr=False)
    shape: tuple[int, ...]
    path: Path
    format: str = "nifti"
    notes: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along the array's axes."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, also for axes that are not at right angles."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


def volume_suffix(path: Path) -> str:
    """Suffix that says how to read a file (``".nii.gz"``), or ``""`` if it is no volume by its name."""
    name = path.name.lower()
    return next((s for s in VOLUME_SUFFIXES if name.endswith(s) and len(name) > len(s)), "")


def volume_stem(path: Path) -> str:
    """File name without the suffix of a volume: ``x`` for ``a/x.nii.gz``."""
    return path.name[: len(path.name) - len(volume_suffix(path))]


def read_volume(path: str | Path, *, role: str = "MR", blank_ok: bool = False) -> Volume:
    """Read NIfTI, MetaImage and NRRD from their bytes, strictly, and DICOM series with pydicom.

    Where sform and qform are both given the sform counts.

    Args:
        path: a ``.nii``, ``.nii.gz``, ``.mha``, ``.mhd``, ``.nrrd`` or ``.nhdr`` file; the folder of one DICOM series,
            or a file of a series.
        role: what the file is, for messages.
        blank_ok: accept one value in every voxel: an empty segmentation is a result, an empty MR is not.

    Returns:
        The volume, voxel values as stored (scaled to float32 where the file has a scale).

    Raises:
        SfgMedError: in one line, for anything that is not one readable, finite, non-constant 3D image.
    """
    path = Path(path)
    suffix = volume_suffix(path)
    if suffix or not path.is_dir():
        check_regular(path, role)
    if not suffix:
        return _read_dicom(path, role)
    if path.stat().st_size == 0:
        raise SfgMedError(path, f"a {role} image", "an empty file", "copy or export it again")
    is_nifti = suffix in NIFTI_SUFFIXES
    array, affine, header, shape, placed = (read_nifti if is_nifti else read_itk)(path, role)
    grid = check_shape(path, shape, role)
    check_affine(path, affine, grid)
    array = _plain(array.reshape(grid))
    check_values(path, array, role, blank_ok=blank_ok)
    notes = _notes(placed, grid)
    return Volume(array, affine, header, shape, path, "nifti" if is_nifti else "itk", notes)


def write_volume(
    path: str | Path, array: NDArray[np.generic], like: Volume, dtype: DTypeLike, description: str = ""
) -> None:
    """Write NIfTI (``.nii.gz``) in the grid of another volume, whole or not at all.

    Integers are rounded and clipped to what ``dtype`` holds; there is never a scale in the file. From the
    input only the geometry is taken over: its description, intent and extensions may name the patient.

    Args:
        path: final name, ending in ``.nii.gz``.
        array: (X, Y, Z) values.
        like: volume whose grid, affine, sform and qform codes, and shape the file gets.
        dtype: NumPy type in the file.
        description: at most 79 ASCII characters for the header.

    Raises:
        ValueError: if the array has another grid, or ``path`` another suffix.
    """
    path = Path(path)
    if not path.name.endswith(".nii.gz") or tuple(array.shape) != tuple(like.array.shape):
        raise ValueError(f"{path}: shape {array.shape} for a grid of {like.array.shape}, written as .nii.gz")
    header = like.header.copy()
    header.set_data_dtype(np.dtype(dtype))
    header.set_slope_inter(1.0, 0.0)
    header["descrip"] = description.encode("ascii", "replace")[:79]
    image = nib.Nifti1Image(_cast(array, np.dtype(dtype)).reshape(like.shape), None, header)
    with atomic_path(path, keep_suffix=False) as temporary, temporary.open("wb") as file:
        # mtime 0 and no name: the same volume gives the same bytes
        with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed:
            image.to_stream(packed)
        file.flush()
        os.fsync(file.fileno())


def _read_dicom(path: Path, role: str) -> Volume:
    from sfg_med.data.dicom import is_dicom, read_series, series_at  # they make volumes, and take time to import

    if path.is_file() and not is_dicom(path):
        remedy = f"give one of {', '.join(VOLUME_SUFFIXES)}, or DICOM"
        raise SfgMedError(path, f"a {role} image", f"a file named {path.suffix or 'without suffix'}", remedy)
    return read_series(series_at(path), role=role)


def _cast(array: NDArray[np.generic], dtype: np.dtype) -> NDArray[np.generic]:
    if array.dtype == dtype:
        return array
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(array), limits.min, limits.max).astype(dtype)
    return array.astype(dtype)


def _plain(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Native byte order; float16, float64 and booleans become float32 and uint8, integers stay."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(np.float32, copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _notes(placed: bool, shape: tuple[int, int, int]) -> tuple[str, ...]:
    return (*([] if placed else ["no_orientation"]), *(["single_slice"] if 1 in shape else []))


__all__ = [
    "VOLUME_SUFFIXES",
    "Volume",
    "geometry_header",
    "read_volume",
    "volume_stem",
    "volume_suffix",
    "write_volume",
]
