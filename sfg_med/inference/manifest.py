# SPDX-License-Identifier: Apache-2.0
"""``manifest.json`` and ``cases.csv`` of an output folder; docs/reference/manifest.md describes both."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sfg_med.data.atomic import write_json, write_text
from sfg_med.errors import SfgMedError, printable

SCHEMA = "sfg_med.manifest/1"
Record = dict[str, Any]


def now() -> str:
    """Time in UTC to the microsecond: it also decides which of two records of a case is the newer one."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Manifest:
    """The records of all cases in an output folder, kept on disk after every change.

    Args:
        output: the output folder.
        header: everything but the cases: versions, device, options, seed, model.
        columns: numeric columns of ``cases.csv``.
        part: index and number of parts where several processes share the work.
        judge: brings a record of whatever call in line with the header: flags belong to the header's limits.
    """

    def __init__(
        self,
        output: Path,
        header: dict[str, Any],
        columns: Iterable[str],
        part: tuple[int, int] = (0, 1),
        judge: Callable[[Record], Record] = lambda record: record,
    ) -> None:
        self._output = output
        self._header = header
        self._judge = judge
        self._columns = list(columns)
        index, count = part
        self._part = output / f"manifest.part-{index}-of-{count}.json" if count > 1 else None
        self._own: dict[str, Record] = self._newest(_cases(self._part)) if self._part else {}
        self._known = self._merged()

    def get(self, case: str) -> Record | None:
        """The record of a case, from whatever call or part."""
        return self._known.get(case)

    def put(self, record: Record) -> None:
        """Add or replace a case's record and write both files."""
        self._own[record["case"]] = record
        self.save()

    def save(self, *, last: bool = False) -> dict[str, Record]:
        """Write both files, merged with what other calls and parts have written.

        Args:
            last: nothing will follow. Another part may end between our reading and our writing, so look again
                until nothing has changed: then whoever writes last has read everything.

        Returns:
            The records of all calls and parts, by case.

        Raises:
            SfgMedError: if they cannot be written.
        """
        try:
            if self._part:
                write_json(self._part, self._document(self._own))
            while True:
                state = self._state()
                records = self._merged()
                self._write_all(records)
                if not last or state == self._state():
                    return records
        except OSError as error:
            found = error.strerror or repr(error)
            raise SfgMedError(self._output, "room to write the manifest", found, "free some or change -o") from error

    def _write_all(self, records: dict[str, Record]) -> None:
        ordered = {case: records[case] for case in sorted(records)}
        write_json(self._output / "manifest.json", self._document(ordered))
        write_text(self._output / "cases.csv", self._table(ordered.values()))

    def _document(self, records: dict[str, Record]) -> dict[str, Any]:
        cases = list(records.values())
        done = sum(r["status"] == "done" for r in cases)
        skipped = sum(bool(r["skipped"]) for r in cases)
        summary = {"cases": len(cases), "done": done, "failed": len(cases) - done, "skipped": skipped}
        return {"schema": SCHEMA, "updated": now(), **self._header, "summary": summary, "cases": cases}

    def _table(self, records: Iterable[Record]) -> str:
        rows = list(records)
        extra = sorted({key for row in rows for key in row["measures"]} - set(self._columns))
        columns = [*self._columns, *extra]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["case", "status", "seconds", *columns, "flags", "error"])
        for row in rows:
            seconds = "" if row["seconds"] is None else row["seconds"]
            values = [row["measures"].get(column, "") for column in columns]
            told = (
                printable(row["case"]),
                row["status"],
                seconds,
                *values,
                ";".join(row["flags"]),
                printable(row["error"]),
            )
            writer.writerow(told)
        return text.getvalue()

    def _parts(self) -> list[Path]:
        return sorted(self._output.glob("manifest.part-*-of-*.json"))

    def _merged(self) -> dict[str, Record]:
        stored = [record for path in (self._output / "manifest.json", *self._parts()) for record in _cases(path)]
        return self._newest([*stored, *self._own.values()])

    def _newest(self, records: Iterable[Record]) -> dict[str, Record]:
        """For each case the newest record, the last of equals."""
        newest: dict[str, Record] = {}
        for record in records:
            former = newest.get(record["case"])
            if former is None or record["finished"] >= former["finished"]:
                newest[record["case"]] = record
        return {case: self._judge(record) for case, record in newest.items()}

    def _state(self) -> list[tuple[str, int]]:
        return [(path.name, path.stat().st_mtime_ns) for path in self._parts()]


def _cases(path: Path) -> list[Record]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return [_checked(record) for record in stored]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        found = f"{error!r}"[:200]
        raise SfgMedError(path, "a manifest of sfg-med predict", found, "delete it or choose another -o") from error


def _checked(record: Record) -> Record:
    """A record with what is used of one, and nothing else: a file may hold anything."""
    known = {**_ABSENT, **{name: record[name] for name in _FITS if name in record}}
    faults = [name for name, fits in _FITS.items() if not fits(known.get(name))]
    if faults:
        raise ValueError(f"a case without {', '.join(faults)} as predict writes it")
    return known


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


_ABSENT: Record = {
    "skipped": False,
    "seconds": None,
    "files": {},
    "model_sha256": "",
    "input": "",
    "samples": 1,
    "seed": 0,
}
_FITS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("case", "status", "error", "input", "finished", "model_sha256"), _is_text),
    "skipped": lambda value: isinstance(value, bool),
    **dict.fromkeys(("samples", "seed"), _is_number),
    "seconds": lambda value: value is None or _is_number(value),
    "files": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "measures": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "flags": lambda value: isinstance(value, list) and all(map(_is_text, value)),
}
