# SPDX-License-Identifier: Apache-2.0
"""What the text headers of MetaImage and NRRD say, in common terms."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfg_med.errors import SfgMedError

# Real headers take a few hundred bytes, some kilobytes with DICOM's fields in them.
MAX_HEADER_BYTES = 1 << 16
DETACHED_SUFFIXES = (".mhd", ".nhdr")


@dataclass(frozen=True)
class TextHeader:
    """Grid, place and storage of a volume.

    Args:
        shape: sizes of the axes, the fastest first.
        dtype: type and byte order of the voxels.
        compressed: they are a zlib or gzip stream.
        steps: (3, 3) millimetres in LPS from a voxel to the next; a column for each axis.
        origin: (3,) centre of the first voxel in LPS millimetres.
        placed: the header says where and how the patient lies; else ITK's default takes the place of what is missing.
        data_file: name of the file with the voxels in the header's folder; ``""`` for the header's own file.
        data_at: where they begin.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    compressed: bool
    steps: NDArray[np.float64]
    origin: NDArray[np.float64]
    placed: bool
    data_file: str
    data_at: int


def lines(head: bytes) -> Iterator[tuple[str, int]]:
    """Lines of a header without their ends, each with the position behind it."""
    position = 0
    while position < len(head):
        end = head.find(b"\n", position)
        end = len(head) if end < 0 else end
        line, position = head[position:end], min(end + 1, len(head))
        yield os.fsdecode(line.rstrip(b"\r")), position


def collect(path: Path, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Fields by name.

    Raises:
        SfgMedError: if one has two values, so that readers disagree on which counts.
    """
    fields: dict[str, str] = {}
    for name, value in pairs:
        if fields.get(name, value) != value:
            raise damaged(path, f"{name} has two values")
        fields[name] = value
    return fields


def numbers(path: Path, name: str, text: str, count: int) -> NDArray[np.float64]:
    """Numbers of a field.

    Raises:
        SfgMedError: if they are not ``count`` numbers.
    """
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        raise damaged(path, f"{name} = {text[:60]}, not {count} numbers")
    return values


def sizes(path: Path, name: str, text: str, count: int) -> tuple[int, ...]:
    """Whole numbers of a field, zero or more.

    Raises:
        SfgMedError: if they are not ``count`` such numbers.
    """
    words = text.split()
    if len(words) != count or not all(word.isdecimal() and len(word) < 19 for word in words):
        raise damaged(path, f"{name} = {text[:60]}, not {count} sizes")
    return tuple(int(word) for word in words)


def number_of_axes(path: Path, name: str, text: str) -> int:
    """One to seven.

    Raises:
        SfgMedError: for anything else.
    """
    if text not in tuple("1234567"):
        raise damaged(path, f"{name} = {text[:60]}")
    return int(text)


def check_data_file(path: Path, name: str) -> str:
    """Name of the file with the voxels: a plain one beside a ``.mhd`` or ``.nhdr``.

    A header comes from elsewhere; it must not choose which of the reader's files are read.

    Raises:
        SfgMedError: for a path, a list or a pattern of names, and for any name in a ``.mha`` or ``.nrrd``.
    """
    if not path.name.lower().endswith(DETACHED_SUFFIXES):
        found = f"a header that names another file ({name[:60]})"
        raise SfgMedError(path, "header and voxels in one file", found, "convert it to .nii.gz")
    if name in ("", ".", "..") or Path(name).name != name or any(c in name for c in "\\%\0") or name[:4] == "LIST":
        found = f"the data file {name[:60]}"
        raise SfgMedError(path, "one data file, by a plain name in the same folder", found, "convert it to .nii.gz")
    return name


def damaged(path: Path, detail: str) -> SfgMedError:
    """The line about a header that says something impossible."""
    return SfgMedError(path, "a valid header", f"a damaged one ({detail})", "export it again")


def unsupported(path: Path, expected: str, found: str) -> SfgMedError:
    """The line about something that the format allows and this reader does not read."""
    return SfgMedError(path, expected, found[:80], "convert it to .nii.gz")
