# SPDX-License-Identifier: Apache-2.0
"""Find the DICOM series of a folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from sfg_med.data.dicom.geometry import in_order
from sfg_med.data.dicom.header import Header, is_dicom, read_header
from sfg_med.data.dicom.reasons import reason
from sfg_med.data.dicom.series import Series
from sfg_med.data.walk import walk
from sfg_med.errors import SfgMedError


def find_series(folder: Path, *, recursive: bool = True) -> list[Series]:
    """List the series of a folder, those that cannot be read as well.

    A series is what has one Series Instance UID in one folder. Files are known by their content, with or without
    suffix. Hidden files and folders are left out.

    Args:
        folder: where to look.
        recursive: also look into the folders below.

    Returns:
        The series, by folder, series number and UID. Files that are DICOM by their name but cannot be read make a
        series of their own, so that nobody misses them.
    """
    folders = walk(folder) if recursive else islice(walk(folder), 1)
    return [series for here, names in folders for series in _series_in(here, names)]


def series_at(path: Path) -> Series:
    """The series that a path stands for: the only one with images in a folder, or the one that a file belongs to.

    Raises:
        SfgMedError: if there is none, or a folder has several.
    """
    found = [s for s in find_series(path if path.is_dir() else path.parent, recursive=False) if s.is_image]
    if path.is_file():
        found = [series for series in found if path in series.files]
    if len(found) == 1:
        return found[0]
    if not found:
        found_instead = "a folder without one" if path.is_dir() else "none"
        raise SfgMedError(path, "a DICOM series of images", found_instead, "check the path")
    names = ", ".join(series.name for series in found)
    raise SfgMedError(path, "one DICOM series", f"{len(found)} ({names})", "give a file of the one that is wanted")


def _series_in(folder: Path, names: Sequence[str]) -> list[Series]:
    groups: dict[str, list[Header]] = defaultdict(list)
    damaged: list[tuple[Path, str]] = []
    for path in (folder / name for name in names):
        if not is_dicom(path):
            continue
        try:
            header = read_header(path)
        except SfgMedError as error:
            damaged.append((path, error.found))
            continue
        if header is not None:
            groups[header.series_uid].append(header)
    series = [_series(folder, headers) for headers in groups.values()]
    if damaged:
        series.append(_damaged(folder, damaged))
    series.sort(key=lambda s: (s.number, s.uid))
    only = sum(s.is_image for s in series) == 1
    return [replace(s, path=folder) if only and s.is_image else s for s in series]


def _series(folder: Path, headers: Sequence[Header]) -> Series:
    first = headers[0]
    why = reason(headers)
    slices = () if why else in_order([s for header in headers for s in header.slices])
    files = tuple(dict.fromkeys(s.file for s in slices)) or tuple(header.file for header in headers)
    return Series(
        files[0],
        folder,
        files,
        first.series_uid,
        first.study_uid,
        first.frame_uid,
        first.modality,
        first.description,
        first.number,
        first.manufacturer,
        any(header.slices for header in headers),
        why,
        slices,
    )


def _damaged(folder: Path, files: Sequence[tuple[Path, str]]) -> Series:
    path, found = files[0]
    why = f"{len(files)} file{'s' if len(files) > 1 else ''} that cannot be read ({path.name}: {found})"
    paths = tuple(file for file, _ in files)
    return Series(path, folder, paths, "", "", "", "", "damaged", 0, "", True, why, ())
