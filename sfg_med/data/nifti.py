# SPDX-License-Identifier: Apache-2.0
"""Read NIfTI-1 and NIfTI-2 strictly: nibabel repairs headers in silence, and a repaired grid is a guess."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from sfg_med.data.checks import check_dtype, check_shape, check_zooms
from sfg_med.errors import SfgMedError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
_GEOMETRY = (
    *("sform_code", "srow_x", "srow_y", "srow_z", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z"),
)
_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown is read as millimetres, as everybody does
_BROKEN = (OSError, EOFError, ValueError, OverflowError, zlib.error, nib.filebasedimages.ImageFileError)

Read = tuple[NDArray[np.generic], NDArray[np.float64], nib.Nifti1Header, tuple[int, ...]]


def read_nifti(path: Path, role: str) -> Read:
    """Read voxels, affine in millimetres, header with nothing but the geometry, and shape as stored.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file; whether it is compressed is seen from its content.
        role: what the file is, for messages.

    Raises:
        SfgMedError: for anything that is not one well-formed volume.
    """
    content = _content(path, role)
    raw = _raw_header(path, content, role)
    dimensions = int(raw["dim"][0])
    shape = tuple(int(n) for n in raw["dim"][1 : 1 + dimensions])
    check_shape(path, shape, role)
    check_zooms(path, np.asarray(raw["pixdim"][1:4], np.float64))
    dtype = _dtype(path, raw)
    check_dtype(path, dtype)
    try:
        needed = int(raw["vox_offset"]) + math.prod(shape) * dtype.itemsize
        if needed > len(content):
            raise EOFError(f"{len(content)} of {needed} bytes")
        image_class = nib.Nifti1Image if raw["sizeof_hdr"] == 348 else nib.Nifti2Image
        with LoggingOutputSuppressor():  # what nibabel would repair and say has been checked above
            image = image_class.from_bytes(content)
        with np.errstate(over="ignore", invalid="ignore"):  # garbage is found by the checks of the affine
            return _voxels(image), _affine(path, image), geometry_header(image.header, shape), shape
    except (HeaderDataError, WrapStructError) as error:
        raise SfgMedError(path, "a valid NIfTI header", str(error), "correct the header or export it again") from error
    except _BROKEN as error:
        raise _unreadable(path, role, error) from error


def geometry_header(source: nib.Nifti1Header, shape: tuple[int, ...]) -> nib.Nifti1Header:
    """Make a NIfTI-1 header that holds the geometry of another header and nothing else of it.

    Args:
        source: NIfTI-1 or NIfTI-2 header.
        shape: shape to write, (X, Y, Z) or with further axes of length one.
    """
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    for name in _GEOMETRY:
        header[name] = source[name]
    header["pixdim"][:4] = source["pixdim"][:4]
    header["xyzt_units"] = int(source["xyzt_units"]) & 7
    return header


def _content(path: Path, role: str) -> bytes:
    """The whole file, uncompressed; reading to the end is what checks the checksum of a compressed one."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except _BROKEN as error:
        raise _unreadable(path, role, error) from error


def _raw_header(path: Path, content: bytes, role: str) -> nib.Nifti1Header:
    sizes = {struct.unpack(order + "i", content[:4])[0]: order for order in "<>"} if len(content) >= 4 else {}
    kind = next((k for size, k in ((348, nib.Nifti1Header), (540, nib.Nifti2Header)) if size in sizes), None)
    if kind is None or len(content) < kind.template_dtype.itemsize:
        raise SfgMedError(path, f"a {role} image in NIfTI format", "something else", "export it again")
    header = kind(content[: kind.template_dtype.itemsize], check=False)
    if not bytes(header["magic"]).startswith(b"n+"):
        raise SfgMedError(path, "a single-file NIfTI", "an Analyze image or half of a pair", "convert it to .nii.gz")
    if not 1 <= int(header["dim"][0]) <= 7 or np.any(header["dim"][1 : 1 + int(header["dim"][0])] < 0):
        raise SfgMedError(path, "a valid NIfTI header", f"dimensions {header['dim'].tolist()}", "export it again")
    return header


def _dtype(path: Path, header: nib.Nifti1Header) -> np.dtype:
    try:
        return header.get_data_dtype()
    except KeyError as error:
        raise SfgMedError(path, "a known voxel type", f"type code {error}", "export it again") from error


def _affine(path: Path, image: nib.Nifti1Image) -> NDArray[np.float64]:
    unit = int(image.header["xyzt_units"]) & 7
    if unit not in _UNITS_MM:
        raise SfgMedError(path, "metres, millimetres or micrometres", f"unit code {unit}", "correct xyzt_units")
    affine = np.array(image.header.get_best_affine(), np.float64)
    affine[:3] *= _UNITS_MM[unit]
    return affine


def _voxels(image: nib.Nifti1Image) -> NDArray[np.generic]:
    """Voxels as stored; float32 where the file has a scale, without the float64 copy NumPy would make."""
    proxy: Any = image.dataobj
    if (proxy.slope, proxy.inter) == (1.0, 0.0):
        return np.asarray(proxy.get_unscaled())
    return image.get_fdata(dtype=np.float32, caching="unchanged")


def _unreadable(path: Path, role: str, error: Exception) -> SfgMedError:
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    return SfgMedError(path, f"a readable {role} image", f"a damaged one ({detail})", "copy or export it again")
