# SPDX-License-Identifier: Apache-2.0
"""``report.html`` of a training run: curves, and which kernels came to serve which tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfg_med import __version__
from sfg_med.errors import SfgMedError
from sfg_med.report import charts
from sfg_med.report.case_files import read_json
from sfg_med.report.html import Chart, chart, render
from sfg_med.report.run_files import HISTORY, Curve, read_history
from sfg_med.report.sharing_page import sharing_charts
from sfg_med.spec import ModelSpec

PAGE = "report.html"
_SCHEDULE = {
    "learning_rate": "learning rate",
    "temperature": "temperature of the group draws",
    "entropy": "mean entropy of the groups (nats)",
}
History = Mapping[tuple[str, str], Curve]


def write_run_page(run_dir: Path) -> Path:
    """Write ``RUN/report.html`` from the files of a training run.

    Args:
        run_dir: folder with ``history.csv`` and, if the network learns groups, ``groups.json`` and
            ``trajectories.npz``; results of
            ``sfg-med evaluate`` in ``evaluation/`` are shown too.

    Returns:
        Path of the page.

    Raises:
        SfgMedError: if there is no history.
    """
    history = read_history(run_dir / HISTORY)
    if not history:
        raise SfgMedError(run_dir / HISTORY, "at least one row", "none", "wait for the first steps of the run")
    spec = _optional(run_dir / "spec.json")
    evaluation = _optional(run_dir / "evaluation" / "summary.json")
    return render(
        "run.html.j2",
        run_dir / PAGE,
        name=run_dir.resolve().name,
        version=__version__,
        steps=int(max(curve.steps[-1] for curve in history.values())),
        spec=ModelSpec.from_dict(spec, where=str(run_dir / "spec.json")) if spec else None,
        splits={name: len(cases) for name, cases in (_optional(run_dir / "splits.json") or {}).items()},
        best=_best_step(history),
        last=_last_values(history, spec),
        curves=[*_loss_charts(history), *_validation_charts(history, spec), *_schedule_charts(history)],
        groups=sharing_charts(run_dir),
        evaluation=evaluation,
    )


def _optional(path: Path) -> dict[str, Any] | None:
    return dict(read_json(path, "JSON of a run")) if path.is_file() else None


def _best_step(history: History) -> float | None:
    score = history.get(("validation", "score"))
    return float(score.steps[score.values.argmax()]) if score is not None else None


def _last_values(history: History, spec: Mapping[str, Any] | None) -> list[tuple[str, float, str]]:
    """Last validation: title, value, unit."""
    shown = []
    for (split, name), curve in history.items():
        if split == "validation":
            shown.append((_title(name), float(curve.values[-1]), _unit(name, spec)))
    return shown


def _title(name: str) -> str:
    known = {"mae_hu": "MAE", "score": "selection score", "dice_mean": "mean Dice", "loss": "total"}
    kind, _, subject = name.partition("_")
    words = {"dice": "Dice", "mae": "MAE", "psnr": "PSNR", "loss": "loss"}
    return known.get(name) or f"{words.get(kind, kind)} {subject.replace('_', ' ')}".strip()


def _unit(name: str, spec: Mapping[str, Any] | None) -> str:
    if name.startswith("mae_"):
        units = {task["name"]: task.get("unit", "") for task in (spec or {}).get("tasks", ())}
        return "HU" if name.endswith("_hu") else units.get(name.removeprefix("mae_"), "")
    return "dB" if name.startswith("psnr") else ""


def _loss_charts(history: History) -> list[Chart]:
    losses = {_title(n): c for (split, n), c in history.items() if split == "train" and n.startswith("loss")}
    if not losses:
        return []
    text = "Mean over the steps between two points. The total is the weighted sum that is minimised."
    found = [chart("Training loss", charts.line_chart(losses, "loss (no unit)", name="training loss"), text)]
    prefix = "log_variance_"
    learned = {n.removeprefix(prefix): c for (split, n), c in history.items() if split == "train" and prefix in n}
    if learned:
        text = "Mean over the voxels, in the units that the network works in. The higher, the less a task weighs."
        svg = charts.line_chart(learned, "log variance", name="log variances")
        found.append(chart("Learned log variance of the tasks", svg, text))
    return found


def _validation_charts(history: History, spec: Mapping[str, Any] | None) -> list[Chart]:
    curves = {name: curve for (split, name), curve in history.items() if split == "validation"}
    best = _best_step(history)
    note = "" if best is None else "Dotted: the step with the best selection score."
    found = []
    dice = {_title(name): curve for name, curve in curves.items() if name.startswith("dice")}
    for name, curve in curves.items():
        if name.startswith("dice") or name == "score":
            continue
        unit = _unit(name, spec)
        axis = f"{_title(name)} ({unit})" if unit else _title(name)
        svg = charts.line_chart({axis: curve}, axis, name=f"validation {name}", mark=best)
        found.append(chart(f"Validation {_title(name)}", svg, note))
    if dice:
        svg = charts.line_chart(dice, "Dice", name="validation dice", limits=(0, 1), mark=best)
        found.append(chart("Validation Dice", svg, note))
    return found


def _schedule_charts(history: History) -> list[Chart]:
    found = []
    for name, title in _SCHEDULE.items():
        curve = history.get(("train", name))
        if curve is not None:
            steep = bool(name != "entropy" and curve.values.min() > 0 and curve.values.max() > 30 * curve.values.min())
            svg = charts.line_chart({title: curve}, title, name=title, logarithmic=steep)
            found.append(chart(title[0].upper() + title[1:], svg))
    return found
