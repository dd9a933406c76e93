# SPDX-License-Identifier: Apache-2.0
"""Read MetaImage and NRRD, and turn ITK's LPS world into NIfTI's RAS.

Not with ITK, which goes on after a failed decompression, and opens whatever file a header names.
"""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np

from sfg_med.data.checks import check_affine, check_shape
from sfg_med.data.metaimage import parse_metaimage
from sfg_med.data.nifti import Read
from sfg_med.data.nrrd import parse_nrrd
from sfg_med.data.stored_bytes import check_regular, inflated, open_regular, read_voxels
from sfg_med.data.text_header import MAX_HEADER_BYTES, TextHeader
from sfg_med.errors import SfgMedError

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")
_SCANNER, _ALIGNED = 1, 2


def read_itk(path: Path, role: str) -> Read:
    """Read voxels, affine in RAS millimetres, a NIfTI header of the geometry, shape as stored, and if it is placed.

    Args:
        path: a ``.mha``, ``.mhd``, ``.nrrd`` or ``.nhdr`` file.
        role: what the file is, for messages.

    Raises:
        SfgMedError: for anything that is not one well-formed volume.
    """
    parse = parse_metaimage if path.name.lower().endswith((".mha", ".mhd")) else parse_nrrd
    with open_regular(path, role) as file:
        header = parse(path, file.read(MAX_HEADER_BYTES), role)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header.steps, header.origin
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    check_affine(path, affine, check_shape(path, header.shape, role))
    array = np.frombuffer(_voxels(path, header, role), header.dtype).reshape(header.shape, order="F")
    return Read(array, affine, _nifti_header(header, affine), header.shape, header.placed)


def _voxels(path: Path, header: TextHeader, role: str) -> bytearray:
    with open_regular(_data_path(path, header.data_file), role) as file:
        file.seek(header.data_at)
        stream = inflated(file) if header.compressed else file
        return read_voxels(file, stream, math.prod(header.shape) * header.dtype.itemsize)


def _data_path(path: Path, name: str) -> Path:
    if not name:
        return path
    try:
        check_regular(path.with_name(name), "")
    except SfgMedError as error:
        raise SfgMedError(path, f"its data file {name}", error.found, "copy both files") from error
    return path.with_name(name)


def _nifti_header(source: TextHeader, affine: np.ndarray) -> nib.Nifti1Header:
    """A default place is none of the scanner; results that keep it still lie on the image in every viewer."""
    header = nib.Nifti1Header()
    header.set_data_shape(source.shape)
    header.set_xyzt_units("mm")
    code = _SCANNER if source.placed else _ALIGNED
    header.set_sform(affine, code)
    header.set_qform(affine, code)
    return header
