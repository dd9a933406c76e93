# SPDX-License-Identifier: Apache-2.0
"""The header of MetaImage (``.mha``, ``.mhd``), strictly: MetaIO itself goes on with what it could not read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.checks import check_shape, check_zooms
from sfg_med.data.text_header import (
    TextHeader,
    check_data_file,
    collect,
    damaged,
    lines,
    number_of_axes,
    numbers,
    sizes,
    unsupported,
)
from sfg_med.errors import SfgMedError

# Some writers take MET_LONG for eight bytes: their files are too long, and refused.
_TYPES = {
    **{"MET_LONG": "i4", "MET_ULONG": "u4"},
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
# Names that mean the same.
_SAME = {
    **{"Rotation": "TransformMatrix", "Orientation": "TransformMatrix", "Position": "Offset", "Origin": "Offset"},
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_LINE = re.compile(r"\s*([^=:]+?)\s*[=:]\s*(.*?)\s*")
# What is read besides the geometry, and the only values that this reader takes.
_ONLY = {"ObjectType": "Image", "BinaryData": "True", "ElementNumberOfChannels": "1", "HeaderSize": "0"}


def parse_metaimage(path: Path, head: bytes, role: str) -> TextHeader:
    """Read the header.

    Args:
        path: the file, for messages and for what may lie in another one.
        head: its first bytes, the whole header at least.
        role: what the file is, for messages.

    Raises:
        SfgMedError: for anything but one 3D volume of one number a voxel, in millimetres.
    """
    fields, data_at = _fields(path, head, role)
    for name, value in _ONLY.items():
        if fields.get(name, value).lower() != value.lower():
            expected = "one real number a voxel" if name == "ElementNumberOfChannels" else f"{name} = {value}"
            raise unsupported(path, expected, f"{name} = {fields[name]}")
    if fields.get("DistanceUnits", "mm") not in ("mm", "?"):
        raise unsupported(path, "lengths in mm", f"DistanceUnits = {fields['DistanceUnits']}")
    axes = number_of_axes(path, "NDims", fields.get("NDims", ""))
    shape = sizes(path, "DimSize", fields.get("DimSize", ""), axes)
    check_shape(path, shape, role)
    code = fields.get("ElementType", "")
    if code not in _TYPES:
        raise unsupported(path, "a known voxel type", f"ElementType = {code}")
    dtype = np.dtype(_TYPES[code]).newbyteorder(">" if _flag(path, fields, "BinaryDataByteOrderMSB") else "<")
    steps, origin, placed = _geometry(path, fields, axes)
    local = fields["ElementDataFile"].lower() == "local"
    data_file = "" if local else check_data_file(path, fields["ElementDataFile"])
    compressed = _flag(path, fields, "CompressedData")
    return TextHeader(shape, dtype, compressed, steps, origin, placed, data_file, data_at if local else 0)


def _fields(path: Path, head: bytes, role: str) -> tuple[dict[str, str], int]:
    """Fields up to the one that ends the header, and where that is."""
    pairs: list[tuple[str, str]] = []
    for line, end in lines(head):
        match = _LINE.fullmatch(line)
        if not match and line.strip():
            break
        if match:
            name, value = match.groups()
            pairs.append((_SAME.get(name, name), value))
            if name == "ElementDataFile":
                return collect(path, pairs), end
    found = "a damaged header (it does not end with ElementDataFile)" if pairs else "something else"
    raise SfgMedError(path, f"a {role} image in MetaImage format", found, "copy or export it again")


def _geometry(path: Path, fields: dict[str, str], axes: int) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Steps, origin, and whether the header gives them."""
    name = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    if name not in fields:
        raise SfgMedError(path, "a voxel size (ElementSpacing)", "none", "export it with its voxel size")
    spacing = numbers(path, name, fields[name], axes)[:3]
    check_zooms(path, spacing)
    rows, origin = np.eye(axes), np.zeros(axes)  # ITK's default
    if "TransformMatrix" in fields:  # a row of the file is the direction of an axis
        rows = numbers(path, "TransformMatrix", fields["TransformMatrix"], axes * axes).reshape(axes, axes)
    if "Offset" in fields:
        origin = numbers(path, "Offset", fields["Offset"], axes)
    placed = "TransformMatrix" in fields and "Offset" in fields
    return rows[:3, :3].T * spacing, origin[:3], placed


def _flag(path: Path, fields: dict[str, str], name: str) -> bool:
    value = fields.get(name, "False")
    if value.lower() not in ("true", "false", "1", "0"):
        raise damaged(path, f"{name} = {value[:60]}")
    return value.lower() in ("true", "1")
