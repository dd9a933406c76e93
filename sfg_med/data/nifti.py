# SPDX-License-Identifier: Apache-2.0
"""Read NIfTI-1 and NIfTI-2 strictly: nibabel repairs headers in silence, and a repaired grid is a guess."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from sfg_med.data.checks import check_dtype, check_shape, check_zooms
from sfg_med.data.stored_bytes import GZIP, inflated, open_regular, read_voxels
from sfg_med.errors import SfgMedError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
_GEOMETRY = (
    *("sform_code", "srow_x", "srow_y", "srow_z", "qform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z"),
)
_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown is read as millimetres, as everybody does
_FORM_CODES = range(6)
# In NIfTI-2 with bytes that show if line ends were translated; old writers left them out.
_MAGIC = {348: (b"n+1\0",), 540: (b"n+2\0\r\n\x1a\n", b"n+2\0\0\0\0\0")}
# Extensions hold a DICOM header at most; they are skipped, unread.
_MAX_OFFSET = 1 << 28
_CHUNK = 1 << 20


class Read(NamedTuple):
    """What a reader has found in a file.

    Args:
        array: voxels as stored, or float32 where the file has a scale.
        affine: (4, 4) voxel index to RAS millimetres.
        header: the geometry and nothing else.
        shape: as stored.
        placed: the file says how the patient lies.
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64]
    header: nib.Nifti1Header
    shape: tuple[int, ...]
    placed: bool


def read_nifti(path: Path, role: str) -> Read:
    """Read a volume; extensions of the header, which may name the patient, are skipped.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file; whether it is compressed is seen from its content.
        role: what the file is, for messages.

    Raises:
        SfgMedError: for anything that is not one well-formed volume.
    """
    with open_regular(path, role) as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        stream = inflated(file) if packed else file
        header = _raw_header(path, stream, role)
        dtype, shape = _check_header(path, header, role)
        _skip(stream, int(header["vox_offset"]) - header.template_dtype.itemsize)
        content = read_voxels(file, stream, math.prod(shape) * dtype.itemsize)
    with np.errstate(over="ignore", invalid="ignore"):  # garbage is found by the checks of the affine
        affine, geometry = _affine(path, header), geometry_header(header, shape)
    placed = bool(header["sform_code"] or header["qform_code"])
    array = _scaled(np.frombuffer(content, dtype), header).reshape(shape, order="F")
    return Read(array, affine, geometry, shape, placed)


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
    header["pixdim"][1:4] = source["pixdim"][1:4]
    header["pixdim"][0] = -1 if source["pixdim"][0] == -1 else 1
    header["xyzt_units"] = int(source["xyzt_units"]) & 7
    return header


def _raw_header(path: Path, stream: io.BufferedReader, role: str) -> nib.Nifti1Header:
    """The header as it is, in the byte order of its first field."""
    content = stream.read(348)
    sizes = {struct.unpack(order + "i", content[:4])[0]: order for order in "<>"} if len(content) == 348 else {}
    size, kind = next(((s, k) for s, k in ((348, nib.Nifti1Header), (540, nib.Nifti2Header)) if s in sizes), (0, None))
    if kind is not None:
        content += stream.read(size - 348)
    if kind is None or len(content) < size:
        raise SfgMedError(path, f"a {role} image in NIfTI format", "something else", "export it again")
    magic = content[344:] if size == 348 else content[4:12]
    if magic not in _MAGIC[size]:
        pair = magic[:2] == b"ni" or not any(magic)
        found = "an Analyze image or half of a pair" if pair else f"a wrong magic number {magic!r}"
        raise SfgMedError(path, "a single-file NIfTI", found, "convert it to .nii.gz")
    return kind(content, endianness=sizes[size], check=False)


def _check_header(path: Path, header: nib.Nifti1Header, role: str) -> tuple[np.dtype, tuple[int, ...]]:
    """Voxel type and shape, after every field that is used has been checked."""
    dimensions = int(header["dim"][0])
    shape = tuple(int(n) for n in header["dim"][1 : 1 + dimensions])
    if not 1 <= dimensions <= 7 or any(n < 0 for n in shape):
        raise _invalid(path, f"dimensions {header['dim'].tolist()}")
    check_shape(path, shape, role)
    check_zooms(path, np.asarray(header["pixdim"][1:4], np.float64))
    try:
        dtype = header.get_data_dtype()
    except KeyError as error:
        raise SfgMedError(path, "a known voxel type", f"type code {error}", "export it again") from error
    check_dtype(path, dtype)
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        raise _invalid(path, f"{header['bitpix']} bits a voxel (bitpix) of type {dtype.name}")
    offset, first = float(header["vox_offset"]), header.template_dtype.itemsize + 4
    if not (first <= offset <= _MAX_OFFSET and offset.is_integer()):
        raise _invalid(path, f"voxels that start at byte {offset:g} (vox_offset)")
    for name in ("sform_code", "qform_code"):
        if int(header[name]) not in _FORM_CODES:
            raise _invalid(path, f"{name} {header[name]}")
    if not header["sform_code"] and header["qform_code"] and header["pixdim"][0] not in (-1, 0, 1):
        raise _invalid(path, f"qfac (pixdim[0]) of {header['pixdim'][0]:g}")
    if not (np.isfinite(header["scl_slope"]) and (header["scl_slope"] == 0 or np.isfinite(header["scl_inter"]))):
        raise _invalid(path, f"a scale of {header['scl_slope']:g} and {header['scl_inter']:g}")
    return dtype, shape


def _skip(stream: io.BufferedReader, count: int) -> None:
    while count > 0 and (skipped := len(stream.read(min(count, _CHUNK)))):
        count -= skipped


def _affine(path: Path, header: nib.Nifti1Header) -> NDArray[np.float64]:
    unit = int(header["xyzt_units"]) & 7
    if unit not in _UNITS_MM:
        raise SfgMedError(path, "metres, millimetres or micrometres", f"unit code {unit}", "correct xyzt_units")
    usable = header.copy()
    usable["pixdim"][0] = usable["pixdim"][0] or 1  # by the standard
    try:
        affine = np.array(usable.get_best_affine(), np.float64)
    except (ValueError, HeaderDataError) as error:
        raise _invalid(path, f"a damaged quaternion: {error}") from error
    affine[:3] *= _UNITS_MM[unit]
    return affine


def _scaled(values: NDArray[np.generic], header: nib.Nifti1Header) -> NDArray[np.generic]:
    """Voxels as stored; float32 where the file has a scale, without a float64 copy. A slope of zero is no scale."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or (slope, inter) == (1.0, 0.0):
        return values
    scaled = np.empty(values.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes Inf, which is refused
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK].astype(np.float64)
            scaled[start : start + _CHUNK] = part * slope + inter
    return scaled


def _invalid(path: Path, found: str) -> SfgMedError:
    return SfgMedError(path, "a valid NIfTI header", found, "correct the header or export it again")
