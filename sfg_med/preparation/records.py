# SPDX-License-Identifier: Apache-2.0
"""``prepare.json`` and ``dropped.csv`` of a dataset: what was done with every case, and why some are not in it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sfg_med
from sfg_med.data.atomic import write_json, write_text
from sfg_med.errors import SfgMedError
from sfg_med.preparation.inputs import Source
from sfg_med.preparation.options import Options

SCHEMA = "sfg_med.preparation/1"
FILE, DROPPED = "prepare.json", "dropped.csv"
Record = dict[str, Any]


class Records:
    """The records of all cases of a dataset, kept on disk after every change.

    Args:
        output: the dataset.
        options: choices of the call.
        engine: name and version of what registers.
        overwrite: whether other choices may take the place of the former ones.

    Raises:
        SfgMedError: if the dataset was prepared with other choices, or its record is damaged.
    """

    def __init__(self, output: Path, options: Options, engine: str, *, overwrite: bool) -> None:
        self._path = output / FILE
        self._header = {"options": options.facts() | {"engine": engine}, "versions": _versions()}
        former = self._former()
        self.cases: dict[str, Record] = {record["case"]: record for record in former.get("cases", [])}
        done = [r for r in self.cases.values() if r["status"] == "done"]
        if done and not overwrite and former["options"] != self._header["options"]:
            now: Mapping[str, Any] = self._header["options"]
            changed = [
                f"{k} {former['options'].get(k)!r} then, {v!r} now"
                for k, v in now.items()
                if former["options"].get(k) != v
            ]
            remedy = "use the same options, --overwrite, or another -o"
            raise SfgMedError(output, "cases prepared with the same options", "; ".join(changed), remedy)

    def finished(self, source: Source) -> Record | None:
        """The record of a case that is done, from the same files, and whose files are all there.

        A case whose input is out of reach now (another disk) stays what it is.
        """
        record = self.cases.get(source.case)
        if record is None or record["status"] != "done":
            return None
        if not source.problem and record["inputs"] != inputs_of(source):
            return None
        folder = self._path.parent / source.case
        return record if all((folder / name).is_file() for name in record["files"]) else None

    def forget_dropped(self, names: Iterable[str]) -> None:
        """Forget cases that were dropped and are no longer in the input."""
        known = set(names)
        self.cases = {n: r for n, r in self.cases.items() if n in known or r["status"] == "done"}

    def put(self, record: Record) -> None:
        """Add or replace a case's record and write the files."""
        self.cases[record["case"]] = record
        self.save()

    def save(self, **header: Any) -> None:
        """Write both files; ``header`` adds to what is said of the whole dataset."""
        self._header |= header
        cases = [self.cases[name] for name in sorted(self.cases)]
        count = sum(r["status"] == "done" for r in cases)
        summary = {"cases": len(cases), "done": count, "dropped": len(cases) - count}
        updated = datetime.now(UTC).isoformat(timespec="seconds")
        document = {"schema": SCHEMA, "updated": updated, **self._header, "summary": summary, "cases": cases}
        write_json(self._path, document)
        write_text(self._path.with_name(DROPPED), _dropped(cases))

    def _former(self) -> dict[str, Any]:
        try:
            former = json.loads(self._path.read_text(encoding="utf-8"))
            if former["schema"] != SCHEMA or not isinstance(former["cases"], list):
                raise ValueError(f"schema {former['schema']}")
            return former
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            expected = "a record of sfg-med prepare"
            raise SfgMedError(self._path, expected, repr(error), "delete it or choose another -o") from error


def new_record(source: Source) -> Record:
    """The record of a case before anything is done with it; everything in it can be written as JSON."""
    return {
        "case": source.case,
        "patient": source.patient,
        "status": "failed",
        "error": source.problem,
        "flags": [],
        "seconds": None,
        "inputs": inputs_of(source),
        "series": [asdict(note) for note in source.series],
        "figures": {},
        "landmarks": [],
        "standardised": "",
        "files": [],
    }


def inputs_of(source: Source) -> dict[str, Any]:
    """Role to path, size in bytes and time of change in ns, by which a changed input is known."""
    result: dict[str, list[str | int | None]] = {}
    for role, path in sorted(source.files.items()):
        try:
            state = path.stat()
        except OSError:
            result[role] = [str(path), None, None]
            continue
        result[role] = [str(path), state.st_size, state.st_mtime_ns]
    return result


def _dropped(cases: list[Record]) -> str:
    """A row for each case that is not in the dataset, and for each DICOM series that no case uses."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "patient", "what", "reason"])
    for record in cases:
        if record["status"] != "done":
            writer.writerow([record["case"], record["patient"], "case", record["error"]])
        for series in record["series"]:
            if not series["role"]:
                writer.writerow([record["case"], record["patient"], f"series {series['name']}", series["reason"]])
    return text.getvalue()


def _versions() -> dict[str, str]:
    names = ("SimpleITK", "numpy", "scipy", "scikit-image")
    return {"sfg_med": sfg_med.__version__, **{name: version(name) for name in names}}
