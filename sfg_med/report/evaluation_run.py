# SPDX-License-Identifier: Apache-2.0
"""Score all cases of a prediction folder and write ``metrics.csv`` and ``summary.json``."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from sfg_med import __version__
from sfg_med.data.atomic import atomic_path, write_json
from sfg_med.errors import printable
from sfg_med.metrics import DEFINITIONS, case_dice_mean, columns, rank_cases, statistics, trivial_mae
from sfg_med.metrics.calibration import ZScores
from sfg_med.processes import worker_processes
from sfg_med.report.case_files import Predictions
from sfg_med.report.evaluation import CaseJob, CaseScore, score_case
from sfg_med.report.references import References
from sfg_med.spec import ModelSpec

SCHEMA = "sfg_med.evaluation/1"
NOTICE = "Research only, not for clinical use."


def score_cases(jobs: Sequence[CaseJob], processes: int = 1) -> Iterator[CaseScore]:
    """Score the cases one after the other, or several at a time; results come in the order of the jobs."""
    if processes <= 1:
        yield from map(score_case, jobs)
        return
    with worker_processes(processes) as pool:
        yield from pool.map(score_case, jobs)


def write_results(
    output: Path,
    predictions: Predictions,
    references: References,
    jobs: Sequence[CaseJob],
    scores: Sequence[CaseScore],
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Write ``metrics.csv`` and ``summary.json`` into ``output``; see docs/reference/metrics.md.

    Returns:
        The content of ``summary.json``.
    """
    output.mkdir(parents=True, exist_ok=True)
    summary = summarize(predictions, references, jobs, scores, left_out)
    names = [column.name for column in jobs[0].columns]
    with (
        atomic_path(output / "metrics.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(["case", *names])
        table.writerows([printable(s.case), *(_text(s.row[name]) for name in names)] for s in scores if not s.error)
    write_json(output / "summary.json", summary)
    return summary


def summarize(
    predictions: Predictions,
    references: References,
    jobs: Sequence[CaseJob],
    scores: Sequence[CaseScore],
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Statistics of every column, the trivial model, failures and where it all came from."""
    spec = jobs[0].spec
    done = [score for score in scores if not score.error]
    described: dict[str, Any] = {}
    for column in jobs[0].columns:
        numbers = {score.case: score.row[column.name] for score in done}
        described[column.name] = {
            "title": column.title,
            "unit": column.unit,
            "better": column.better,
            **statistics(numbers, better=column.better),
        }
        if column.metric == "hd95":
            described[column.name]["organ_not_predicted"] = sum(column.name in score.missed for score in done)
    model = predictions.manifest.get("model") or {}
    return {
        "schema": SCHEMA,
        "notice": NOTICE,
        "simulated": references.is_simulated,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "prediction": str(predictions.folder.resolve()),
        "reference": str(references.dataset.path.resolve()),
        "model_sha256": model.get("sha256"),
        "cases": len(scores),
        "failed": len(scores) - len(done),
        "failures": [{"case": score.case, "error": score.error} for score in scores if score.error],
        "left_out": list(left_out),
        "columns": described,
        "dice_mean": _dice_mean(done),
        "ranking": _ranking(done, spec),
        "trivial_model": _trivial(done, spec),
        "calibration": _calibration(done, spec),
        "definition": next((n for n, limits in DEFINITIONS.items() if limits == jobs[0].value_range), None),
        "hu_range": list(jobs[0].value_range) if jobs[0].value_range else None,
        "tissues": {name: [_number(v) for v in limits] for name, limits in jobs[0].detail.tissues.items()},
        "surface_mm": jobs[0].detail.surface_mm,
        "versions": _versions(),
        "spec": spec.to_dict(),
    }


def _dice_mean(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Of each case the mean over its organs, then the statistics over cases."""
    return statistics({score.case: case_dice_mean(score.row) for score in scores}, better="higher")


def _ranking(scores: Sequence[CaseScore], spec: ModelSpec) -> list[dict[str, Any]]:
    """Cases by the errors of their images and the mean Dice of their organs, worst first."""
    metrics: dict[str, Any] = {
        column.name: ({score.case: score.row[column.name] for score in scores}, column.better)
        for column in columns(spec)
        if column.metric == "mae"
    }
    if spec.label_tasks:
        metrics["dice_mean"] = ({score.case: case_dice_mean(score.row) for score in scores}, "higher")
    return rank_cases(metrics)


def _calibration(scores: Sequence[CaseScore], spec: ModelSpec) -> dict[str, Any]:
    """Over all voxels of all cases: what ``calibration.json`` has for images, from the maps that predict wrote."""
    result: dict[str, Any] = {}
    for task in spec.image_tasks:
        found: list[ZScores] = [score.z[task.name] for score in scores if task.name in score.z]
        if found:
            z = sum(found[1:], start=found[0])
            result[task.name] = {"unit": task.unit, "cases": len(found), "voxels": z.count, **z.summary()}
    return result


def _trivial(scores: Sequence[CaseScore], spec: ModelSpec) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for column in (c for c in columns(spec) if c.metric == "mae"):
        known = [score for score in scores if column.task in score.body]
        if not known:
            continue
        mean, errors = trivial_mae(score.body[column.task] for score in known)
        result[column.name] = {
            "predicts": mean,
            "description": "the mean of the evaluated references inside their masks, in every voxel",
            **statistics(dict(zip((score.case for score in known), errors, strict=True))),
        }
    return result


def _versions() -> dict[str, str]:
    packages = ("monai", "torch", "numpy", "scipy", "scikit-image")
    return {"sfg_med": __version__, "python": python_version(), **{name: version(name) for name in packages}}


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.8g}"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
