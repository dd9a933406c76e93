# SPDX-License-Identifier: Apache-2.0
"""Score one case from its files, and choose which cases to score."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.agreement import check_same_grid
from sfg_med.data.volumes import Volume, read_volume
from sfg_med.errors import SfgMedError, printable
from sfg_med.metrics import Column, Detail, columns, detail_columns, reference_in_unit, score_task, voxel_counts
from sfg_med.metrics.calibration import ZScores
from sfg_med.report.case_files import Predictions
from sfg_med.report.evaluation_detail import Scored, score_details
from sfg_med.report.references import MASK, Case, References, labels_of_model, open_references
from sfg_med.spec import ImageTask, ModelSpec, VolumeTask

logger = logging.getLogger(__name__)
Array = NDArray[Any]


@dataclass(frozen=True)
class CaseJob:
    """All that scoring one case needs; plain data, so that another process can do it.

    Args:
        case: the reference's name, files and labels.
        predictions: task name, or that of a map of uncertainty, to file; ``None`` where it is missing.
        spec: model specification, with the tasks to score only.
        value_range: clip range of PSNR and the similarities of HU images in place of the task's own.
        failure: why the case cannot be scored, in one line; empty if it can be tried.
        detail: what is scored beside the contract's columns.
    """

    case: Case
    predictions: dict[str, Path | None]
    spec: ModelSpec
    value_range: tuple[float, float] | None = None
    failure: str = ""
    detail: Detail = field(default_factory=Detail)

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the table."""
        return (*columns(self.spec), *detail_columns(self.spec, self.detail))


@dataclass
class CaseScore:
    """Metrics of one case; ``error`` is empty where all went well.

    Args:
        case: name of the case.
        row: column name to value, NaN where not defined.
        body: image task to distinct reference values inside the mask and their counts.
        missed: label columns of organs that the reference has and the prediction lacks.
        z: image task to sums of its z-scores, where predict wrote its standard deviation.
        error: one line, or nothing.
        seconds: time taken.
    """

    case: str
    row: dict[str, float] = field(default_factory=dict)
    body: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    z: dict[str, ZScores] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


def plan(
    predictions: Predictions,
    reference: Path,
    chosen: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    detail: Detail | None = None,
) -> tuple[list[CaseJob], References, list[str]]:
    """Decide which cases are scored.

    Chosen cases always are. Without a choice all cases of the reference are, apart from those that the
    manifest shows were never asked for.

    Returns:
        The jobs, the references, and the names of reference cases that are left out.

    Raises:
        SfgMedError: if nothing can be compared.
    """
    references = open_references(reference, predictions.spec)
    spec = _scored_spec(predictions, references)
    available = [c for c in references.cases.values() if any(task.name in c.files for task in spec.tasks)]
    unknown = sorted(set(chosen or ()) - {case.name for case in available})
    if unknown:
        found = f"no reference for {', '.join(unknown[:5])}" + (" and others" if len(unknown) > 5 else "")
        raise SfgMedError(reference, "references of each chosen case", found, "correct the list of cases")
    names = {case.name: references.record_name(case, predictions) for case in available}
    if chosen:
        cases = [case for case in available if case.name in chosen]
    else:
        cases = [case for case in available if _asked_for(predictions, spec, names[case.name])]
    if not cases:
        raise SfgMedError(predictions.folder, f"predictions of {reference}", "none", "predict that dataset first")
    jobs = [_job(predictions, spec, case, names[case.name], value_range) for case in cases]
    written = {name for job in jobs for name, path in job.predictions.items() if path} - set(spec.channels)
    asked = replace(detail or Detail(), maps=tuple(sorted(written)))
    jobs = [replace(job, detail=asked) for job in jobs]
    left_out = [] if chosen else sorted(set(names) - {case.name for case in cases})
    return jobs, references, left_out


def score_case(job: CaseJob) -> CaseScore:
    """Score one case; a mistake in its files becomes the ``error`` of the result."""
    start = time.perf_counter()
    score = CaseScore(job.case.name, dict.fromkeys((column.name for column in job.columns), math.nan))
    try:
        if job.failure:
            score.error = job.failure
        else:
            _score_tasks(job, score)
    except SfgMedError as error:
        score.error = str(error)
    except Exception as error:  # one broken case must not cost the others
        logger.debug("scoring %s failed", job.case.name, exc_info=True)
        score.error = printable(" ".join(f"{job.case.name}: {type(error).__name__}: {error}".split()))
    score.seconds = time.perf_counter() - start
    return score


def _score_tasks(job: CaseJob, score: CaseScore) -> None:
    mask: Volume | None = None
    mask_path = job.case.files.get(MASK)
    scored: list[Scored] = []
    for task in job.spec.volume_tasks:
        reference_path = job.case.files.get(task.name)
        if reference_path is None:
            continue
        reference = read_volume(reference_path, role=f"reference {task.name}", blank_ok=True)
        if mask_path is not None and mask is None and isinstance(task, ImageTask):
            mask = _read_mask(mask_path, reference)
        prediction = _read_prediction(job, task, reference)
        scored.append(_score_task(job, score, task, prediction, reference, mask))
    score_details(job, score, scored, mask)


def _score_task(
    job: CaseJob, score: CaseScore, task: VolumeTask, prediction: Volume, reference: Volume, mask: Volume | None
) -> Scored:
    inside = None if mask is None else mask.array
    expected = reference.array
    limits = None
    if isinstance(task, ImageTask):
        expected = reference_in_unit(task, expected)
        limits = job.value_range if task.unit.upper() == "HU" else None
        score.body[task.name] = voxel_counts(expected, inside, limits or task.value_range)
    else:
        expected = labels_of_model(task, job.case, expected)
    values = score_task(job.spec, task, prediction.array, expected, inside, reference.spacing_mm, limits)
    score.row.update(values)
    # A Dice without a distance: the reference has the organ and the prediction has none of it.
    pairs = ((name, name.replace("hd95_mm_", "dice_", 1)) for name in values if name.startswith("hd95_mm_"))
    score.missed += [name for name, dice in pairs if math.isnan(values[name]) and not math.isnan(values[dice])]
    return Scored(task, prediction, reference, expected)


def _read_prediction(job: CaseJob, task: VolumeTask, reference: Volume) -> Volume:
    path = job.predictions.get(task.name)
    if path is None:
        expected = f"{job.spec.input_name}_{task.name}.nii.gz among the predictions"
        raise SfgMedError(
            job.case.name, expected, "no such file", "predict it, or choose cases with --cases or --split"
        )
    prediction = read_volume(path, role=f"predicted {task.name}", blank_ok=True)
    check_same_grid(prediction, reference)
    if not isinstance(task, ImageTask):
        for volume in (prediction, reference):
            _check_labels(volume)
    return prediction


def _read_mask(path: Path, reference: Volume) -> Volume:
    mask = read_volume(path, role="mask", blank_ok=True)
    check_same_grid(mask, reference)
    if not np.any(np.asarray(mask.array) > 0):
        raise SfgMedError(path, "a mask of the body", "no voxel in it", "correct the mask or remove the file")
    return mask


def _check_labels(volume: Volume) -> None:
    if volume.array.dtype.kind == "f" and np.any(volume.array != np.rint(volume.array)):
        raise SfgMedError(volume.path, "whole numbers (labels)", "fractions", "give a label map, not probabilities")


def _scored_spec(predictions: Predictions, references: References) -> ModelSpec:
    """Drop the tasks that nobody predicted, unless the specification is known to list them."""
    spec = predictions.spec
    if predictions.spec_is_known:
        return spec
    names = [references.record_name(case, predictions) for case in references.cases.values()]
    tasks = tuple(t for t in spec.tasks if any(predictions.file(name, t.name) for name in names))
    if not tasks:
        wanted = " or ".join(f"<case>/{spec.input_name}_{task.name}.nii.gz" for task in spec.tasks)
        raise SfgMedError(predictions.folder, wanted, "none for any case of the reference", "check both folders")
    return replace(spec, tasks=tasks)


def _asked_for(predictions: Predictions, spec: ModelSpec, name: str) -> bool:
    """Whether predict was asked for a case; without a manifest it is taken for granted."""
    if not predictions.manifest or name in predictions.records:
        return True
    return any(predictions.file(name, task.name) for task in spec.tasks)


def _job(
    predictions: Predictions, spec: ModelSpec, case: Case, name: str, value_range: tuple[float, float] | None
) -> CaseJob:
    maps = [*(f"{t.name}_std" for t in spec.image_tasks), *(f"{t.name}_entropy" for t in spec.label_tasks)]
    files = {key: predictions.file(name, key) for key in (*(task.name for task in spec.tasks), *maps)}
    return CaseJob(case, files, spec, value_range, _failure(predictions, case, name, files))


def _failure(predictions: Predictions, case: Case, name: str, keys: Iterable[str]) -> str:
    """Why a case cannot be scored: predict failed, or nobody knows which of two files is meant."""
    record = predictions.records.get(name, {})
    if record.get("status") == "failed":
        found = f"predict failed ({record.get('error') or 'no reason given'})"
        return str(SfgMedError(case.name, "a finished prediction", found, "predict it again"))
    for paths in (predictions.all_files(name, key) for key in keys):
        if len(paths) > 1:
            found = f"also {paths[1].name}"
            return str(SfgMedError(paths[0], "one file of each prediction", found, "keep one of them"))
    return case.problem
