# SPDX-License-Identifier: Apache-2.0
"""A CSV list of images: column ``image`` (or the first one), perhaps ``case``: the name of the results."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from sfg_med.data.rows import listed_path, read_rows
from sfg_med.data.volumes import volume_stem, volume_suffix
from sfg_med.errors import SfgMedError

LIST_SUFFIXES = (".csv", ".txt")
_CASE_COLUMNS = ("case", "output")


def read_list(path: Path) -> list[tuple[str, Path, str]]:
    """Read a list; paths in it are relative to its own folder.

    A first row that is itself an image's path makes a list without header.

    Args:
        path: the list, in UTF-8, separated by commas, semicolons or tabs.

    Returns:
        For each row the name of the results, the image, and an error (empty if the name can be used). Without
        a case column the name is the image's path below the folder that all images share.

    Raises:
        SfgMedError: if the list cannot be read or is empty.
    """
    rows, image_column, case_column = _rows(path)
    sources = [listed_path(path.parent, row[image_column]) for row in rows]
    if not sources:
        raise SfgMedError(
            path, "a list of images", "no row with a path", "write one image a row below the header 'image'"
        )
    names = [row[case_column].strip() if case_column is not None and len(row) > case_column else "" for row in rows]
    common = Path(os.path.commonpath([source.parent for source in sources]))
    result = []
    for source, name in zip(sources, names, strict=True):
        name = name or (source.parent.relative_to(common) / (volume_stem(source) or source.name)).as_posix()
        result.append((name, source, _name_error(path, name)))
    return result


def _rows(path: Path) -> tuple[list[list[str]], int, int | None]:
    rows = read_rows(path, "a CSV list")
    if not rows:
        return [], 0, None
    header = [cell.strip().lower() for cell in rows[0]]
    if volume_suffix(Path(header[0])):
        return rows, 0, None
    image = header.index("image") if "image" in header else 0
    case = next((header.index(name) for name in _CASE_COLUMNS if name in header), None)
    return [row for row in rows[1:] if len(row) > image and row[image].strip()], image, case


def _name_error(path: Path, name: str) -> str:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.name:
        return str(SfgMedError(path, "a case name inside the output folder", repr(name), "use a relative name"))
    return ""
