# SPDX-License-Identifier: Apache-2.0
"""Rows of a CSV that a person wrote, and the paths in them."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from sfg_med.errors import SfgMedError


def read_rows(path: Path, expected: str) -> list[list[str]]:
    """Read rows that are not empty; quoted cells may hold separators and line breaks.

    Args:
        path: a file in UTF-8, separated by commas, semicolons or tabs, whichever its first line has most of.
        expected: what it is, for the message.

    Raises:
        SfgMedError: if it is no such file.
    """
    if not path.is_file():
        raise SfgMedError(path, f"{expected} in UTF-8", "no file", "check the path")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [row for row in rows if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = f"what cannot be read ({error})"
        raise SfgMedError(path, f"{expected} in UTF-8", found, "correct it, or save it again") from error


def listed_path(folder: Path, cell: str) -> Path:
    """The path that a cell names, relative to a folder.

    Not resolved: names of results come from the path as it was written. A home that nobody has (``~nobody``), for which
    ``Path.expanduser`` raises, stays as it is, so that the file is absent like any other.
    """
    return Path(os.path.abspath(folder / os.path.expanduser(cell.strip())))  # noqa: PTH100, PTH111
