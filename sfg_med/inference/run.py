# SPDX-License-Identifier: Apache-2.0
"""Predict many cases: skip what is finished, go on after failures, keep the manifest up to date."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sfg_med import __version__
from sfg_med.data.dicom_out.identity import Identity
from sfg_med.devices import describe_device
from sfg_med.errors import SfgMedError
from sfg_med.inference.case import CaseWork, finished_record
from sfg_med.inference.inputs import Job
from sfg_med.inference.manifest import Manifest, Record
from sfg_med.inference.measures import measure_columns
from sfg_med.inference.overlap import do_jobs
from sfg_med.inference.plausible import Limits, judged, limits_to_dict
from sfg_med.inference.predictor import Predictor


@dataclass
class RunResult:
    """What one call did.

    Args:
        records: record of every case that this call worked on or found finished.
        interrupted: whether it was stopped from outside (Ctrl-C, SIGTERM).
        complete: whether every case of all parts has a record.
    """

    records: list[Record] = field(default_factory=list)
    interrupted: bool = False
    complete: bool = False

    @property
    def failures(self) -> list[Record]:
        """Records of failed cases."""
        return [r for r in self.records if r["status"] == "failed"]

    @property
    def skipped(self) -> int:
        """How many cases were finished before."""
        return sum(r["skipped"] for r in self.records)

    @property
    def predicted(self) -> list[Record]:
        """Records of cases that this call predicted."""
        return [r for r in self.records if r["status"] == "done" and not r["skipped"]]


def run_cases(
    predictor: Predictor,
    jobs: Sequence[Job],
    output: Path,
    *,
    options: dict[str, Any],
    overwrite: bool = False,
    part: tuple[int, int] = (0, 1),
    dicom: Identity | None = None,
    limits: Limits | None = None,
    progress: Callable[[Record], None] = lambda record: None,
) -> RunResult:
    """Predict every case of a part.

    Args:
        predictor: the loaded model.
        jobs: all cases, of all parts.
        output: the output folder.
        options: options of the call, for the manifest.
        overwrite: predict again what is finished.
        part: index (from 0) and number of parts; a part takes every N-th case.
        dicom: write DICOM as well, with or without identity; None for NIfTI only.
        limits: of plausible measures, for the flags; the manifest keeps them.
        progress: called after each case.

    Raises:
        SfgMedError: if finished cases come from another model, or nothing can be written.
    """
    index, count = part
    own = jobs[index::count]
    manifest = _open_manifest(predictor, output, options, part, limits)
    if not overwrite:
        _check_same_model(predictor, own, manifest, output)
    result = RunResult()

    def keep(record: Record) -> None:
        result.records.append(record)
        manifest.put(record)
        progress(record)

    def start(job: Job) -> CaseWork | Record:
        former = manifest.get(job.case)
        finished = None if overwrite else finished_record(predictor, job, output, former, dicom, limits)
        return finished or CaseWork(predictor, job, output, dicom, limits, former)

    result.interrupted = do_jobs(own, start, keep, on_cpu=predictor.device.type == "cpu")
    known = manifest.save(last=True)
    result.complete = all(job.case in known for job in jobs)
    return result


def _open_manifest(
    predictor: Predictor, output: Path, options: dict[str, Any], part: tuple[int, int], limits: Limits | None
) -> Manifest:
    header = {
        "versions": versions(),
        "device": {
            "name": str(predictor.device),
            "description": describe_device(predictor.device),
            "threads": torch.get_num_threads(),
            "precision": predictor.precision,
        },
        "options": options,
        "seed": predictor.seed,
        "model": {
            "path": str(predictor.model.path),
            "sha256": predictor.model.sha256,
            "spec": predictor.spec.to_dict(),
        },
        "limits": limits_to_dict(limits or {}),
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SfgMedError(output, "a folder to write to", error.strerror or repr(error), "choose another -o") from error
    manifest = Manifest(output, header, measure_columns(predictor.spec), part, lambda record: _judged(record, limits))
    manifest.save()
    return manifest


def _judged(record: Record, limits: Limits | None) -> Record:
    """A record of whatever call with the flags that the manifest's limits make."""
    return {**record, "flags": judged(record["measures"], record["flags"], limits or {})}


def _check_same_model(predictor: Predictor, jobs: Sequence[Job], manifest: Manifest, output: Path) -> None:
    """Refuse to mix the results of two models in one folder."""
    for job in jobs:
        former = manifest.get(job.case)
        if former and former["status"] == "done" and former["model_sha256"] != predictor.model.sha256:
            found = f"case {job.case} predicted by another model ({former['model_sha256'][:12]})"
            raise SfgMedError(output, "results of this model only", found, "use --overwrite or another -o")


def versions() -> dict[str, str]:
    """Versions of what computes a result."""
    found = {"sfg_med": __version__, "python": platform.python_version()}
    for name in ("torch", "monai", "numpy", "nibabel", "SimpleITK", "pydicom", "highdicom"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
