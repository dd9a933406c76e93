# SPDX-License-Identifier: Apache-2.0
"""The benchmark's figure: what each network costs beside its share of the arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipelines.contestants import BASELINE
from sfg_med.data.atomic import write_text
from sfg_med.report.charts import INK, LINE_COLOURS, drawing, standalone

Rows = Mapping[str, Mapping[str, float]]


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Write an SVG of the entries ``inference`` and ``training_step``, as far as they were measured."""
    passes, training = results.get("inference"), results.get("training_step")
    if passes is None and training is None:
        return
    rows = _by_network(passes["networks"]) if passes else {}
    steps = training["steps"] if training else {}
    heights = [len(rows) or 1, len(steps) or 1]
    with drawing(9.0, 1.8 + 0.42 * sum(heights), "benchmark") as (figure, result):
        upper, lower = figure.subplots(2, 1, height_ratios=heights)
        if passes:
            _draw_passes(upper, rows)
        if training:
            _draw_steps(lower, steps, training["precision"])
        for axes, measured in ((upper, passes), (lower, training)):
            axes.set_visible(measured is not None)
    write_text(path, standalone(result[0]))


def _by_network(rows: Rows) -> dict[str, dict[str, Mapping[str, float]]]:
    """Network to number format to its row."""
    networks: dict[str, dict[str, Mapping[str, float]]] = {}
    for name, row in rows.items():
        network, precision = name.rsplit(", ", 1)
        networks.setdefault(network, {})[precision] = row
    return networks


def _draw_passes(axes: Axes, networks: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    places = np.arange(len(networks))
    precisions = list(next(iter(networks.values())))
    height = 0.8 / len(precisions)
    for number, precision in enumerate(precisions):
        rows = [by_precision[precision] for by_precision in networks.values()]
        ratios, low, high = (np.array([r[k] for r in rows]) for k in ("ratio", "ratio_q1", "ratio_q3"))
        y = places + (number - (len(precisions) - 1) / 2) * height
        colour = LINE_COLOURS[number]
        label = f"{precision}, {networks[BASELINE][precision]['seconds']:.2f} s for hard sharing"
        axes.barh(y, ratios, height * 0.9, color=colour, label=label)
        axes.errorbar(ratios, y, xerr=[ratios - low, high - ratios], fmt="none", ecolor=INK, elinewidth=1)
    work = [next(iter(r.values()))["arithmetic_over_hard_sharing"] for r in networks.values()]
    axes.plot(work, places, "|", color=INK, markersize=18, markeredgewidth=2, label="arithmetic")
    axes.set_yticks(places, list(networks))
    axes.invert_yaxis()
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("pass over a window; hard sharing in the same number format = 1")
    axes.legend(loc="best", fontsize=9)


def _draw_steps(axes: Axes, rows: Rows, precision: str) -> None:
    places = np.arange(len(rows))
    ratios, low, high, peaks = (
        np.array([r[k] for r in rows.values()]) for k in ("ratio", "ratio_q1", "ratio_q3", "peak_over_hard_sharing")
    )
    axes.barh(places - 0.2, ratios, 0.36, color=LINE_COLOURS[0], label="time")
    axes.errorbar(ratios, places - 0.2, xerr=[ratios - low, high - ratios], fmt="none", ecolor=INK, elinewidth=1)
    axes.barh(places + 0.2, peaks, 0.36, color=LINE_COLOURS[1], label="peak memory")
    axes.set_yticks(places, list(rows))
    axes.invert_yaxis()
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel(f"training step in {precision}, hard sharing = 1")
    axes.legend(loc="best", fontsize=9)
