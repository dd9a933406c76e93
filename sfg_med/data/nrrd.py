# SPDX-License-Identifier: Apache-2.0
"""The header of NRRD (``.nrrd``, ``.nhdr``), strictly: an unknown field is a damaged one."""

from __future__ import annotations

import re
from itertools import islice
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

_INTEGERS = {
    **{"i1": ("signed char", "int8"), "u1": ("uchar", "unsigned char", "uint8")},
    **{"i2": ("short", "short int", "signed short", "signed short int", "int16")},
    **{"u2": ("ushort", "unsigned short", "unsigned short int", "uint16")},
    **{"i4": ("int", "signed int", "int32"), "u4": ("uint", "unsigned int", "uint32")},
    **{"i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64")},
    **{"u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64")},
}
_TYPES = {
    **{word: code for code, words in _INTEGERS.items() for word in (*words, f"{words[-1]}_t")},
    **{"float": "f4", "double": "f8"},
}
# What turns each world into LPS; other worlds do not say how the patient lies.
_TO_LPS = {
    **{"left-posterior-superior": (1.0, 1.0, 1.0), "right-anterior-superior": (-1.0, -1.0, 1.0)},
    "left-anterior-superior": (1.0, -1.0, 1.0),
}
_SPACES = {"lps": "left-posterior-superior", "ras": "right-anterior-superior", "las": "left-anterior-superior"}
_SAME = {"datafile": "data file", "centerings": "centers", "lineskip": "line skip", "byteskip": "byte skip"}
_FIELDS = {
    *("dimension", "type", "sizes", "encoding", "endian", "space", "space dimension", "space directions"),
    *("space origin", "space units", "spacings", "units", "data file", "line skip", "byte skip", "kinds"),
    *("content", "number", "min", "max", "oldmin", "old min", "oldmax", "old max", "sample units", "sampleunits"),
    *("thicknesses", "axis mins", "axismins", "axis maxs", "axismaxs", "centers", "labels", "measurement frame"),
}


def parse_nrrd(path: Path, head: bytes, role: str) -> TextHeader:
    """Read the header.

    Args:
        path: the file, for messages and for what may lie in another one.
        head: its first bytes, the whole header at least.
        role: what the file is, for messages.

    Raises:
        SfgMedError: for anything but one 3D volume of one number a voxel, in millimetres.
    """
    fields, data_at = _fields(path, head, role)
    axes = number_of_axes(path, "dimension", fields.get("dimension", ""))
    stored = sizes(path, "sizes", fields.get("sizes", ""), axes)
    directions = _directions(path, fields, axes)
    # An axis without direction holds components; one component is none.
    spatial = [n for n in range(axes) if stored[n] != 1 or directions is None or directions[n] is not None]
    shape = tuple(stored[n] for n in spatial)
    if directions is not None and any(directions[n] is None for n in spatial):
        raise unsupported(path, "one real number a voxel", f"several frames or channels (sizes {fields['sizes']})")
    check_shape(path, shape, role)
    _check_only(path, fields)
    compressed = _compressed(path, fields)
    steps, origin, placed = _geometry(path, fields, None if directions is None else [directions[n] for n in spatial])
    data_file = check_data_file(path, fields["data file"]) if "data file" in fields else ""
    return TextHeader(
        shape, _dtype(path, fields), compressed, steps, origin, placed, data_file, 0 if data_file else data_at
    )


def _fields(path: Path, head: bytes, role: str) -> tuple[dict[str, str], int]:
    """Fields up to the empty line that ends the header, and where that is."""
    if not re.match(rb"NRRD000[1-5]\r?\n", head):
        raise SfgMedError(path, f"a {role} image in NRRD format", "something else", "copy or export it again")
    pairs: list[tuple[str, str]] = []
    for line, end in islice(lines(head), 1, None):
        if not line.strip():
            return collect(path, pairs), end
        if line.startswith("#") or re.match(r"[^:]+:=", line):
            continue
        name, colon, value = line.partition(":")
        name = _SAME.get(name.strip().lower(), name.strip().lower())
        if not colon or name not in _FIELDS:
            raise damaged(path, f"the line {line[:60]}")
        pairs.append((name, value.strip()))
    if "data file" not in dict(pairs):
        raise damaged(path, "a header without an end")
    return collect(path, pairs), len(head)


def _check_only(path: Path, fields: dict[str, str]) -> None:
    for name in ("line skip", "byte skip"):
        if fields.get(name, "0") != "0":
            raise unsupported(path, "voxels right after the header", f"{name}: {fields[name]}")
    for name in ("space units", "units"):
        if any(unit.lower() not in ("mm", "") for unit in re.findall(r'"([^"]*)"', fields.get(name, ""))):
            raise unsupported(path, "lengths in mm", f"{name}: {fields[name]}")


def _compressed(path: Path, fields: dict[str, str]) -> bool:
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise unsupported(path, "voxels in raw or gzip encoding", f"encoding: {encoding}")
    return encoding != "raw"


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype:
    code = _TYPES.get(fields.get("type", "").lower())
    if code is None:
        raise unsupported(path, "a known voxel type", f"type: {fields.get('type', 'none')}")
    order = fields.get("endian", "little" if code[1] == "1" else "").lower()
    if order not in ("little", "big"):
        raise damaged(path, f"endian: {order[:60]}")
    return np.dtype(code).newbyteorder("<" if order == "little" else ">")


def _directions(path: Path, fields: dict[str, str], axes: int) -> list[NDArray[np.float64] | None] | None:
    """Step along each axis in the header's world, None for an axis that has no place in it; None without a world."""
    if "space directions" not in fields:
        return None
    words = re.findall(r"none|\([^()]*\)", fields["space directions"])
    if len(words) != axes or re.sub(r"none|\([^()]*\)|\s", "", fields["space directions"]):
        raise damaged(path, f"space directions: {fields['space directions'][:60]}")
    return [None if word == "none" else _vector(path, "space directions", word) for word in words]


def _vector(path: Path, name: str, word: str) -> NDArray[np.float64]:
    if not re.fullmatch(r"\([^()]*\)", word):
        raise damaged(path, f"{name}: {word[:60]}")
    return numbers(path, name, word[1:-1].replace(",", " "), 3)


def _geometry(
    path: Path, fields: dict[str, str], directions: list[NDArray[np.float64] | None] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Steps, origin, and whether the header places them in a patient."""
    if directions is None:
        if "spacings" not in fields:
            remedy = "export it with its voxel size"
            raise SfgMedError(path, "a voxel size (space directions or spacings)", "none", remedy)
        spacings = numbers(path, "spacings", fields["spacings"], len(fields["sizes"].split()))
        check_zooms(path, spacings[:3])
        return np.diag(spacings[:3]), np.zeros(3), False
    steps = np.stack([step for step in directions[:3] if step is not None], axis=1)
    check_zooms(path, np.linalg.norm(steps, axis=0))
    space = fields.get("space", "").lower()
    flips = np.array(_TO_LPS.get(_SPACES.get(space, space), (1.0, 1.0, 1.0)))
    origin = _vector(path, "space origin", fields["space origin"]) if "space origin" in fields else np.zeros(3)
    placed = _SPACES.get(space, space) in _TO_LPS and "space origin" in fields
    return steps * flips[:, None], origin * flips, placed
