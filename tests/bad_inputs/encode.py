# SPDX-License-Identifier: Apache-2.0
"""Bytes of a volume in every format, with any field of the header set to anything: libraries refuse to write those."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tests.bad_inputs.bad_file import AFFINE, good_image

Array = NDArray[np.generic]
FORMATS = ("nii", "nii.gz", "mha", "z.mha", "nrrd", "gz.nrrd")
_MET = {"i2": "MET_SHORT", "u1": "MET_UCHAR", "f4": "MET_FLOAT", "f8": "MET_DOUBLE"}
_NRRD = {"i2": "int16", "u1": "uint8", "f4": "float", "f8": "double"}


def pack(content: bytes) -> bytes:
    """Gzip without a time, so that the corpus is always the same."""
    return gzip.compress(content, mtime=0)


def nifti(
    array: Array | None = None,
    affine: NDArray[np.float64] | None = None,
    order: str = "<",
    version: int = 1,
    **fields: Any,
) -> bytes:
    """A ``.nii`` file; ``fields`` overwrite those of the header."""
    array = good_image() if array is None else array
    kind, image = ((nib.Nifti1Header, nib.Nifti1Image), (nib.Nifti2Header, nib.Nifti2Image))[version - 1]
    header = kind(endianness=order)
    header.set_data_dtype(array.dtype.newbyteorder(order))
    affine = AFFINE if affine is None else affine
    header.set_sform(affine, 1)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    content = bytearray(image(array, None, header, dtype=header.get_data_dtype()).to_bytes())
    for name, value in fields.items():
        dtype, offset = kind.template_dtype.fields[name][:2]
        value = np.asarray(value, dtype.base.newbyteorder(order) if dtype.base.kind != "S" else dtype.base)
        content[offset : offset + value.nbytes] = value.tobytes()
    return bytes(content)


def mha(
    array: Array | None = None,
    affine: NDArray[np.float64] | None = None,
    compressed: bool = False,
    data: bytes | None = None,
    **lines: str | None,
) -> bytes:
    """A ``.mha`` file; ``lines`` overwrite those of the header, or with ``None`` leave them out."""
    array = good_image() if array is None else array
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ (AFFINE if affine is None else affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    packed = zlib.compress(array.tobytes("F")) if compressed else array.tobytes("F")
    header: dict[str, str | None] = {
        **{"ObjectType": "Image", "NDims": str(array.ndim), "BinaryData": "True", "BinaryDataByteOrderMSB": "False"},
        **{"CompressedData": str(compressed), "CompressedDataSize": str(len(packed)) if compressed else None},
        "TransformMatrix": _words((lps[:3, :3] / spacing).T.ravel()),
        **{"Offset": _words(lps[:3, 3]), "ElementSpacing": _words(spacing), "DimSize": _words(array.shape)},
        "ElementType": _MET.get(array.dtype.str[1:], "MET_OTHER"),
        **{"ElementDataFile": "LOCAL", **lines},
    }
    header["ElementDataFile"] = header.pop("ElementDataFile")  # the last line, wherever others were added
    text = "".join(f"{name} = {value}\n" for name, value in header.items() if value is not None)
    return text.encode() + (packed if data is None else data)


def nrrd(
    array: Array | None = None,
    affine: NDArray[np.float64] | None = None,
    compressed: bool = False,
    data: bytes | None = None,
    **lines: str | None,
) -> bytes:
    """A ``.nrrd`` file; ``lines`` overwrite those of the header (``_`` is a space), ``None`` leaves them out."""
    array = good_image() if array is None else array
    affine = AFFINE if affine is None else affine
    packed = pack(array.tobytes("F")) if compressed else array.tobytes("F")
    header: dict[str, str | None] = {
        **{"type": _NRRD.get(array.dtype.str[1:], "block"), "dimension": str(array.ndim)},
        **{"space": "right-anterior-superior", "sizes": _words(array.shape), "endian": "little"},
        "space_directions": " ".join(_vector(affine[:3, n]) for n in range(3)),
        "space_origin": _vector(affine[:3, 3]),
        **{"encoding": "gzip" if compressed else "raw", **lines},
    }
    text = "".join(f"{name.replace('_', ' ')}: {value}\n" for name, value in header.items() if value is not None)
    return b"NRRD0004\n" + text.encode() + b"\n" + (packed if data is None else data)


def encode(kind: str, array: Array | None = None, affine: NDArray[np.float64] | None = None) -> bytes:
    """A file of one of ``FORMATS``, which end the names of its files."""
    if kind.startswith("nii"):
        content = nifti(array, affine)
        return pack(content) if kind == "nii.gz" else content
    return (mha if kind.endswith("mha") else nrrd)(array, affine, compressed=kind in ("z.mha", "gz.nrrd"))


def _words(values: Any) -> str:
    return " ".join(map(str, np.asarray(values).tolist()))


def _vector(values: Any) -> str:
    return f"({','.join(map(str, np.asarray(values).tolist()))})"
