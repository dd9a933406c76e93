# SPDX-License-Identifier: Apache-2.0
"""``prepare.json`` and ``dropped.csv`` of a dataset: what was done with every case, and why some are not in it."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sfg_med
from sfg_med.data.atomic import write_json, write_text
from sfg_med.data.dicom import series_at
from sfg_med.data.volumes import volume_stem, volume_suffix
from sfg_med.errors import SfgMedError, printable
from sfg_med.preparation.inputs import Source, name_problem
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
        self._options = hashlib.sha256(json.dumps(self._header["options"], sort_keys=True).encode()).hexdigest()
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

    def begin(self, sources: Sequence[Source], *, overwrite: bool, scale: bool) -> None:
        """Mark what is to be made again, and forget cases that were dropped and are no longer in the input.

        Args:
            sources: the cases of the call.
            overwrite: whether they are all to be made again; a call without goes on where this one is interrupted.
            scale: whether all MR are brought onto one intensity scale.

        Raises:
            SfgMedError: if cases that stay have other options, or a standard intensity scale that is not asked for.
        """
        given = {source.case for source in sources}
        for record in self.cases.values():
            if overwrite and record["case"] in given:
                record["options"] = ""
        done = [r for r in self.cases.values() if r["status"] == "done"]
        other = [r["case"] for r in done if not self._is_of_these_options(r) and r["case"] not in given]
        scaled = [r["case"] for r in done if self._is_of_these_options(r) and r["standardised"]]
        if other:
            found = f"{len(other)} of other options that the input lacks ({', '.join(other[:5])})"
            remedy = "add them to the input, or choose another -o"
            raise SfgMedError(self._path.parent, "cases prepared with the same options", found, remedy)
        if scaled and not scale:
            expected = "--standardise or --landmarks, as before"
            found = f"neither, and {len(scaled)} cases on a standard scale ({', '.join(scaled[:5])})"
            remedy = "give it, use --overwrite with all cases, or choose another -o"
            raise SfgMedError(self._path.parent, expected, found, remedy)
        self.cases = {n: r for n, r in self.cases.items() if n in given or r["status"] == "done"}
        if overwrite:
            self.save()

    def _is_of_these_options(self, record: Record) -> bool:
        return record.get("options") == self._options

    def finished(self, source: Source) -> Record | None:
        """The record of a case that is done, with these options, from the same files, and whose files are all there.

        A case whose input is out of reach now (another disk) stays what it is.
        """
        record = self.cases.get(source.case)
        if record is None or record["status"] != "done" or not self._is_of_these_options(record):
            return None
        if not source.problem and record["inputs"] != inputs_of(source):
            return None
        folder = self._path.parent / source.case
        return record if all((folder / name).is_file() for name in record["files"]) else None

    def put(self, record: Record) -> None:
        """Add or replace a case's record and write the files."""
        record["options"] = self._options
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
            for record in former["cases"]:
                _check_record(record)
            return dict(former)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            expected = "a record of sfg-med prepare"
            raise SfgMedError(self._path, expected, repr(error), "delete it or choose another -o") from error


def _check_record(record: Any) -> None:
    """Folders and files that a record names are removed and replaced: they must be those of a case of this dataset."""
    missing = {"case", "patient", "status", "inputs", "series", "files", "standardised", "landmarks"} - set(record)
    folder = [record["case"]] if not missing and record["status"] == "done" else []  # dropped cases have none
    names = [*folder, *record["files"]] if not missing else []
    if missing or not all(isinstance(name, str) and not name_problem(name) for name in names):
        raise ValueError(f"a case without {', '.join(sorted(missing))}" if missing else f"names {names}"[:200])


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
    """Role to path and state of its files, by which a changed input is known."""
    return {role: [str(path), _state(path)] for role, path in sorted(source.files.items())}


def _state(path: Path) -> str | None:
    """Hash of name, size and time of change of all files of an image; ``None`` if one is out of reach."""
    digest = hashlib.sha256()
    try:
        for file in sorted(_files(path)):
            state = file.stat()
            line = f"{file.name}/{state.st_size}/{state.st_mtime_ns}\n"
            digest.update(line.encode(errors="surrogateescape"))
    except OSError:
        return None
    return digest.hexdigest()


def _files(path: Path) -> Sequence[Path]:
    """A volume's one file, or header and data; all files of a DICOM series."""
    if path.is_dir():
        return [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
    if volume_suffix(path) in (".mhd", ".nhdr"):
        return list(path.parent.glob(f"{glob.escape(volume_stem(path))}.*"))
    if volume_suffix(path):
        return [path]
    try:
        return series_at(path).files
    except SfgMedError:
        return [path]


def _dropped(cases: list[Record]) -> str:
    """A row for each case that is not in the dataset, and for each DICOM series that no case uses."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "patient", "what", "reason"])
    rows: list[tuple[str, ...]] = []
    for record in cases:
        if record["status"] != "done":
            rows.append((record["case"], record["patient"], "case", record["error"]))
        for series in record["series"]:
            if not series["role"]:
                rows.append((record["case"], record["patient"], f"series {series['name']}", series["reason"]))
    writer.writerows(map(printable, row) for row in rows)
    return text.getvalue()


def _versions() -> dict[str, str]:
    names = ("SimpleITK", "numpy", "scipy", "scikit-image")
    return {"sfg_med": sfg_med.__version__, **{name: version(name) for name in names}}
