# SPDX-License-Identifier: Apache-2.0
"""Prepare many cases: skip what is finished, go on after failures, then split and standardise."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfg_med.data.atomic import MARK
from sfg_med.errors import SfgMedError
from sfg_med.preparation.case import Prepared, prepare_case
from sfg_med.preparation.images import array_of, write_image
from sfg_med.preparation.inputs import ROLES, Source, name_problem
from sfg_med.preparation.options import Options
from sfg_med.preparation.overview import write_overview
from sfg_med.preparation.records import Record, Records, new_record
from sfg_med.preparation.registration import choose_engine
from sfg_med.preparation.registration.engines import Engine, engine_version
from sfg_med.preparation.splits import former_parts, split_by_patient, write_splits
from sfg_med.preparation.standardising import BEFORE, drop_without_scale, standardise_dataset

SPLITS = "splits.json"
OVERVIEW = "overview.png"
WRITTEN = {*(f"{role}.nii.gz" for role in ROLES), OVERVIEW, BEFORE}
"""Files in the folder of a case."""
_TYPES = {"mr": "float32", "ct": "int16", "mask": "uint8"}


@dataclass
class RunResult:
    """What one call did.

    Args:
        records: of every case that this call worked on or found finished.
        skipped: how many of them were finished before.
        interrupted: whether it was stopped from outside.
    """

    records: list[Record] = field(default_factory=list)
    skipped: int = 0
    interrupted: bool = False

    @property
    def failures(self) -> list[Record]:
        """Records of dropped cases."""
        return [r for r in self.records if r["status"] != "done"]


def run(
    sources: Sequence[Source],
    output: Path,
    options: Options,
    *,
    seed: int = 0,
    standardise: bool = False,
    landmarks: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[Record], None] = lambda record: None,
) -> RunResult:
    """Prepare cases into a dataset folder.

    Args:
        sources: the cases.
        output: the dataset.
        options: choices that each case depends on.
        seed: of the splits.
        standardise: fit a standard intensity scale on the training cases and apply it to all.
        landmarks: a ``standardisation.json`` to apply instead of a fit.
        overwrite: prepare finished cases again.
        progress: called after each case.

    Raises:
        SfgMedError: if nothing can be done: other options than before, or a damaged record.
    """
    engine = choose_engine(options.engine)
    records = Records(output, options, f"{engine.name} {engine_version(engine)}", overwrite=overwrite)
    scale = standardise or landmarks is not None
    records.begin(sources, overwrite=overwrite, scale=scale)
    known = {r["case"]: r["patient"] for r in records.cases.values()} | {s.case: s.patient for s in sources}
    former = former_parts(output / SPLITS, known)
    result = RunResult()
    try:
        for source in sources:
            record = records.finished(source)
            result.skipped += record is not None
            record = record or _prepare(source, output, options, engine)
            result.records.append(record)
            records.put(record)
            progress(record)
        if scale:
            drop_without_scale(output, records)
        patients = {r["case"]: r["patient"] for r in records.cases.values() if r["status"] == "done"}
        splits = split_by_patient(patients, former, seed)
        write_splits(output / SPLITS, splits, patients, former)
        if scale:
            standardise_dataset(output, records, splits["train"], landmarks)
    except KeyboardInterrupt:
        result.interrupted = True
    records.save()
    return result


def _prepare(source: Source, output: Path, options: Options, engine: Engine) -> Record:
    record = new_record(source)
    if not source.problem:
        _try(record, source, output, options, engine)
    folder = output / source.case
    if record["status"] != "done" and not name_problem(source.case) and _is_ours(folder):  # of an earlier input
        shutil.rmtree(folder, ignore_errors=True)
    return record


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing that was not written here."""
    return folder.is_dir() and not folder.is_symlink() and {path.name for path in folder.iterdir()} <= WRITTEN


def _try(record: Record, source: Source, output: Path, options: Options, engine: Engine) -> None:
    began = time.perf_counter()
    folder = output / source.case
    try:
        if folder.exists() and not _is_ours(folder):
            remedy = "move it, or choose another -o"
            raise SfgMedError(folder, "no such folder, or one of sfg-med prepare", "one with other files", remedy)
        prepared = prepare_case(source, options, engine)
        record["files"] = _write(output, source.case, prepared)
        record |= {"status": "done", "figures": prepared.figures, "flags": sorted(set(prepared.flags))}
        record["landmarks"] = prepared.landmarks
    except SfgMedError as error:
        record["error"] = str(error)
    except Exception as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[-200:]}"
        remedy = "check its images; if they are fine, report this line"
        record["error"] = str(SfgMedError(f"case {source.case}", "to prepare it", found, remedy))
    record["seconds"] = round(time.perf_counter() - began, 2)


def _write(output: Path, case: str, prepared: Prepared) -> list[str]:
    """The whole folder of a case appears at once: a case without its CT would look like one that has none."""
    # two levels down, so that nobody who looks for */mr.* finds it
    stage = output / f"{MARK}{case}" / case
    shutil.rmtree(stage.parent, ignore_errors=True)
    try:
        for role, image in prepared.images.items():
            dtype = _TYPES.get(role) or ("uint8" if array_of(image).max() < 256 else "uint16")
            write_image(stage / f"{role}.nii.gz", image, dtype)
        write_overview(stage / OVERVIEW, case, prepared)
        shutil.rmtree(output / case, ignore_errors=True)
        stage.rename(output / case)
    finally:
        shutil.rmtree(stage.parent, ignore_errors=True)
    return sorted(path.name for path in (output / case).iterdir())
