# SPDX-License-Identifier: Apache-2.0
"""Sums of a case's errors and of what its prediction said of them; results over many cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfg_med.data.cases import MASK, Case
from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
from sfg_med.inference.prediction import Prediction
from sfg_med.metrics import reference_in_unit
from sfg_med.metrics.calibration import Reliability, ZScores, near_organ
from sfg_med.report.references import labels_of_model
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

BEST_LABEL = "best label"
Sums = dict[str, Any]


def case_sums(prediction: Prediction, spec: ModelSpec, case: Case) -> Sums:
    """Compare one prediction with the case's references.

    Args:
        prediction: with probabilities and, where the model gives any, standard deviations.
        spec: the model.
        case: whose files are in the grid of the input.

    Returns:
        ``images``: task to sums of z-scores and variances; ``labels``: task to organ to sums of reliability.
    """
    mask = read_volume(case.files[MASK], role="mask", blank_ok=True).array if MASK in case.files else None
    images = {
        task.name: _image_sums(prediction, task, case, mask)
        for task in spec.image_tasks
        if task.name in case.files and task.name in prediction.std
    }
    labels = {
        task.name: _label_sums(prediction, task, case, mask) for task in spec.label_tasks if task.name in case.files
    }
    return {"images": images, "labels": labels}


def _image_sums(prediction: Prediction, task: ImageTask, case: Case, mask: Any) -> Sums:
    volume = read_volume(case.files[task.name], role=f"reference {task.name}", blank_ok=True)
    _check_shape(volume.array.shape, prediction.images[task.name].shape, volume.path)
    # A prediction is never outside the range, so the truth beyond it is not held against its spread.
    reference = np.clip(reference_in_unit(task, volume.array), *task.value_range)
    floor = 1e-3 * abs(task.scale)
    z = ZScores.of(prediction.images[task.name], reference, prediction.std[task.name], mask, floor=floor)
    inside = np.ones(reference.shape, bool) if mask is None else mask > 0
    parts = {name: prediction.parts.get(f"{task.name}_std_{name}") for name in ("parameter", "intrinsic")}
    squares = {k: float(np.square(v[inside], dtype=np.float64).sum()) for k, v in parts.items() if v is not None}
    return {"z": z.to_dict(), "parts": squares}


def _label_sums(prediction: Prediction, task: LabelTask, case: Case, mask: Any) -> Sums:
    volume = read_volume(case.files[task.name], role=f"reference {task.name}", blank_ok=True)
    probabilities = prediction.probabilities[task.name]
    _check_shape(volume.array.shape, probabilities.shape[1:], volume.path)
    truth = labels_of_model(task, case, volume.array)
    drawn = case.labels.get(task.name, task.labels)
    sums: Sums = {}
    for channel, (organ, value) in enumerate(task.labels.items(), 1):
        if organ in drawn:
            is_organ, p = truth == value, probabilities[channel]
            sums[organ] = Reliability.of(p, is_organ, near_organ(is_organ, volume.spacing_mm)).to_dict()
    if set(drawn) == set(task.labels):
        values = np.array([0, *task.labels.values()])
        right = values[probabilities.argmax(0)] == truth
        sums[BEST_LABEL] = Reliability.of(probabilities.max(0), right, mask).to_dict()
    return sums


def _check_shape(found: tuple[int, ...], expected: tuple[int, ...], path: Path) -> None:
    if tuple(found) != tuple(expected):
        raise SfgMedError(path, f"the {expected} voxels of the input", f"{found}", "put both in one grid")


def pooled(spec: ModelSpec, records: Sequence[Sums]) -> Sums:
    """Results over all voxels of all cases, as ``calibration.json`` has them."""
    return {
        "images": {t.name: _pooled_image(t, found) for t in spec.image_tasks if (found := _of(records, "images", t))},
        "labels": {t.name: _pooled_organs(found) for t in spec.label_tasks if (found := _of(records, "labels", t))},
    }


def _of(records: Sequence[Sums], kind: str, task: ImageTask | LabelTask) -> list[Sums]:
    return [record[kind][task.name] for record in records if task.name in record[kind]]


def _pooled_image(task: ImageTask, found: Sequence[Sums]) -> Sums:
    first, *others = (ZScores.from_dict(sums["z"]) for sums in found)
    z = sum(others, start=first)
    parts: dict[str, float | None] = {}
    for name in ("parameter", "intrinsic"):
        squares = [sums["parts"][name] for sums in found if name in sums["parts"]]
        parts[f"rms_std_{name}"] = (sum(squares) / max(z.count, 1)) ** 0.5 if squares else None
    coverage, histogram = list(z.coverage().values()), list(z.histogram)
    return {"unit": task.unit, "voxels": z.count, **z.summary(), **parts, "coverage": coverage, "histogram": histogram}


def _pooled_organs(found: Sequence[Sums]) -> Sums:
    result = {}
    for organ in dict.fromkeys(name for sums in found for name in sums):
        first, *others = (Reliability.from_dict(sums[organ]) for sums in found if organ in sums)
        result[organ] = _organ_values(sum(others, start=first))
    return result


def _organ_values(sums: Reliability) -> Sums:
    known = sums.count > 0
    curve = np.stack(sums.curve(), 1).round(6).tolist()
    ece, brier = (sums.ece, sums.brier) if known else (None, None)
    return {"voxels": sums.count, "ece": ece, "brier": brier, "curve": curve}


def case_row(spec: ModelSpec, samples: int, sums: Sums) -> dict[str, Any]:
    """A case's row; the first image and the first segmentation have short column names, as in ``evaluate``."""
    row: dict[str, Any] = {"case": sums["case"], "samples": samples}
    for task, values in pooled(spec, [sums])["images"].items():
        prefix = "" if task == spec.image_tasks[0].name else f"{task}_"
        wanted = ("z_mean", "z_sd", "coverage_50", "coverage_80", "coverage_95", "rms_std", "rmse")
        row |= {f"{prefix}{name}": f"{values[name]:.6g}" for name in wanted}
    for task, organs in pooled(spec, [sums])["labels"].items():
        prefix = "" if task == spec.label_tasks[0].name else f"{task}_"
        for organ, values in organs.items():
            name = organ.replace(" ", "_")
            if values["ece"] is not None:
                row |= {
                    f"ece_{prefix}{name}": f"{values['ece']:.6g}",
                    f"brier_{prefix}{name}": f"{values['brier']:.6g}",
                }
    return row
