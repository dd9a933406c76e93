# SPDX-License-Identifier: Apache-2.0
"""The real volumes' figure: Dice of every case, a dot each, for one model or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sfg_med.data.atomic import write_text
from sfg_med.report.charts import INK, LINE_COLOURS, drawing, standalone

_GOALS = {("hipmri", "bladder"): 0.80, ("hipmri", "prostate"): 0.60, ("hipmri", "rectum"): 0.50,
          ("promise12", "prostate"): 0.60}  # fmt: skip
_TITLES = {"hipmri": "HipMRI", "promise12": "PROMISE12", "prostatex": "PROSTATEx", "dicom": "Prostate-3T"}


def draw(models: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write an SVG: a row of dots for each set and organ with a reference, PROMISE12 also by acquisition group.

    Args:
        models: name to ``{"rows": ...}``.
        path: of the SVG.
    """
    series = dice_series(models)
    if not series:
        return
    with drawing(9.0, 1.2 + len(series) * (0.25 + 0.2 * len(models)), "Dice on real volumes") as (figure, result):
        axes = figure.add_subplot()
        for number, model in enumerate(models):
            shift = (number - (len(models) - 1) / 2) * 0.7 / len(models)
            _dots(axes, model, series, shift, LINE_COLOURS[number % len(LINE_COLOURS)])
        for place, (limit, _) in enumerate(series.values()):
            if limit is not None:
                axes.plot([limit] * 2, [place - 0.42, place + 0.42], ":", color=INK, linewidth=1.2)
        axes.plot([], [], ":", color=INK, linewidth=1.2, label="goal (of the median)")
        axes.set_yticks(range(len(series)), list(series))
        axes.set(
            xlim=(-0.03, 1.03),
            xlabel="Dice; a dot is a case, a bar the median of several",
            ylim=(-0.6, len(series) - 0.4),
        )
        axes.invert_yaxis()
        figure.legend(loc="outside lower center", ncols=min(4, len(models) + 1), fontsize=10)
    write_text(path, standalone(result[0]))


def dice_series(
    models: Mapping[str, Mapping[str, Any]],
) -> dict[str, tuple[float | None, dict[str, list[float]]]]:
    """Title of a row of the chart to its goal and each model's Dice; a case with an error has Dice 0
    where its set always has a reference."""
    found: dict[str, tuple[float | None, dict[str, list[float]]]] = {}
    for name, model in models.items():
        for row in model["rows"]:
            for title, goal, value in _entries(row):
                found.setdefault(title, (goal, {}))[1].setdefault(name, []).append(value)
    return found


def _entries(row: Mapping[str, Any]) -> list[tuple[str, float | None, float]]:
    title = _TITLES.get(row["set"], row["set"])
    dice = {column.removeprefix("dice_"): row[column] or 0.0 for column in row if column.startswith("dice_")}
    if row["error"]:
        dice = {organ: 0.0 for name, organ in _GOALS if name == row["set"]}
    entries = [(f"{title} {organ}", _GOALS.get((row["set"], organ)), float(value)) for organ, value in dice.items()]
    if row["group"]:
        entries += [(f"{title} {row['group'].replace('_', ' ')}", None, value) for _, _, value in entries]
    return entries


def _dots(
    axes: Axes,
    model: str,
    series: Mapping[str, tuple[float | None, Mapping[str, Sequence[float]]]],
    shift: float,
    colour: str,
) -> None:
    for place, (_, by_model) in enumerate(series.values()):
        values = np.array(by_model.get(model, ()))
        label = model if place == 0 else None
        axes.plot(values, np.full(len(values), place + shift), "o", color=colour, markersize=5, alpha=0.6,
                  markeredgewidth=0, label=label)  # fmt: skip
        if len(values) > 1:
            axes.plot(np.median(values), place + shift, "|", color=colour, markersize=15, markeredgewidth=2.2)
