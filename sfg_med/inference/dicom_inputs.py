# SPDX-License-Identifier: Apache-2.0
"""Which DICOM series of a folder are predicted, and what they are called."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

from sfg_med.data.dicom import Series, find_series
from sfg_med.data.walk import real
from sfg_med.errors import SfgMedError


def series_of_folder(root: Path, folder: Path) -> list[tuple[str, Series]]:
    """Series of one folder with the paths of their results, without suffix, relative to the output folder.

    A folder with one series gives its name, the root its own; a folder with several gives ``folder/003_t2_tse_tra``.
    What holds no images (structures, plans, reports) and what sfg_med has made is left out.

    Args:
        root: folder that was given.
        folder: it, or a folder below.
    """
    found = [s for s in find_series(folder, recursive=False) if s.is_image and not s.is_ours]
    below = folder.relative_to(root).as_posix()
    if len(found) == 1:
        return [(below if below != "." else real(root).name, found[0])]
    count: Counter[str] = Counter()
    named = []
    for series in found:
        count[series.name] += 1
        number = f"_{count[series.name]}" if count[series.name] > 1 else ""
        named.append((f"{below}/{series.name}{number}" if below != "." else f"{series.name}{number}", series))
    return named


def series_name(series: Series) -> str:
    """Name of the results of a series that was given by one of its files."""
    folder = real(series.folder).name
    return folder if series.path == series.folder else f"{folder}_{series.name}"


def matches(series: Series, pattern: str) -> bool:
    """Whether a series' description, or its number and description, is like a pattern (``t2_tse*``), in any case.

    A pattern without ``*``, ``?`` and ``[`` may stand anywhere in them.
    """
    wanted = pattern.lower()
    if not any(c in wanted for c in "*?["):
        wanted = f"*{wanted}*"
    return fnmatch(series.description.lower(), wanted) or fnmatch(series.name.lower(), wanted)


def refusal(series: Series) -> str:
    """The error of a series that is not one volume; ``""`` if it is one."""
    if not series.reason:
        return ""
    remedy = "export it again, or leave it out with --series"
    return str(SfgMedError(series.path, "a DICOM series that is one volume", series.reason, remedy))
