# SPDX-License-Identifier: Apache-2.0
"""A CSV of cases: columns ``case``, ``patient``, ``mr``, ``ct``, ``seg``, ``mask``; only ``mr`` is always needed."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from sfg_med.errors import SfgMedError
from sfg_med.preparation.inputs import CT, MASK, MR, SEG, Source

_ROLES = (MR, CT, SEG, MASK)
_COLUMNS = ("case", "patient", *_ROLES)


def read_table(path: Path) -> list[Source]:
    """Read a table in UTF-8, separated by commas, semicolons or tabs; paths are relative to its own folder.

    A path is a volume, a folder of one DICOM series, or one file of a series. Without a case column the patient names
    the case, without a patient column the case is the patient. Columns of other names are left alone.

    Raises:
        SfgMedError: if it cannot be read, or lacks the columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SfgMedError(path, "a CSV of cases in UTF-8", str(error), "save it again") from error
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    header = [cell.strip().lower() for cell in next(reader, [])]
    if MR not in header or not {"case", "patient"} & set(header):
        expected, found = f"columns {', '.join(_COLUMNS)} (case or patient, and mr)", ", ".join(header) or "nothing"
        raise SfgMedError(path, expected, found, "correct the first row")
    rows = [
        dict(zip(header, (cell.strip() for cell in row), strict=False)) for row in reader if any(map(str.strip, row))
    ]
    return [_source(path, row, number) for number, row in enumerate(rows, start=2)]


def _source(path: Path, row: dict[str, str], number: int) -> Source:
    case = row.get("case") or row.get("patient") or f"row_{number}"
    # abspath, not resolve: a link keeps its name
    given = {role: path.parent / Path(row[role]).expanduser() for role in _ROLES if row.get(role)}
    files = {role: Path(os.path.abspath(file)) for role, file in given.items()}  # noqa: PTH100
    missing = next((f"{role} {file}" for role, file in files.items() if not file.exists()), "")
    problem = str(SfgMedError(f"{path}, case {case}", "paths that exist", missing, "correct it")) if missing else ""
    return Source(case, row.get("patient") or case, files, problem)
