# SPDX-License-Identifier: Apache-2.0
"""A CSV of cases: columns ``case``, ``patient``, ``mr``, ``ct``, ``seg``, ``mask``; only ``mr`` is always needed."""

from __future__ import annotations

from pathlib import Path

from sfg_med.data.rows import listed_path, read_rows
from sfg_med.data.walk import exists
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
    lines = read_rows(path, "a CSV of cases")
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    if MR not in header or not {"case", "patient"} & set(header):
        expected, found = f"columns {', '.join(_COLUMNS)} (case or patient, and mr)", ", ".join(header) or "nothing"
        raise SfgMedError(path, expected, found, "correct the first row")
    rows = [dict(zip(header, (cell.strip() for cell in row), strict=False)) for row in lines[1:]]
    return [_source(path, row, number) for number, row in enumerate(rows, start=2)]


def _source(path: Path, row: dict[str, str], number: int) -> Source:
    case = row.get("case") or row.get("patient") or f"row_{number}"
    files = {role: listed_path(path.parent, row[role]) for role in _ROLES if row.get(role)}
    missing = next((f"{role} {file}" for role, file in files.items() if not exists(file)), "")
    problem = str(SfgMedError(f"{path}, case {case}", "paths that exist", missing, "correct it")) if missing else ""
    return Source(case, row.get("patient") or case, files, problem)
