# SPDX-License-Identifier: Apache-2.0
"""Page of a calibration: whether predictions are as wrong as they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from sfg_med import __version__
from sfg_med.metrics.calibration import BINS, LEVELS, NEAR_MM, Z_EDGES
from sfg_med.report.charts import INK, LINE_COLOURS, drawing
from sfg_med.report.html import Chart, chart, render

PAGE = "index.html"


def write_calibration_page(folder: Path, calibration: Mapping[str, Any]) -> Path:
    """Write ``FOLDER/index.html`` from what ``calibration.json`` holds.

    Args:
        folder: where to.
        calibration: see docs/reference/calibration.md.

    Returns:
        Path of the page.
    """
    results = calibration["results"]
    return render(
        "calibration.html.j2",
        folder / PAGE,
        version=__version__,
        calibration=calibration,
        images=_rows(results, "images"),
        organs=[
            (result["samples"], task, organ, values)
            for result in results
            for task, found in result["labels"].items()
            for organ, values in found.items()
        ],
        charts=[*_image_charts(results), *_label_charts(results)],
        near_mm=NEAR_MM,
    )


def _rows(results: Sequence[Mapping[str, Any]], kind: str) -> list[tuple[int, str, Mapping[str, Any]]]:
    return [(result["samples"], task, values) for result in results for task, values in result[kind].items()]


def _passes(samples: int) -> str:
    return "1 pass" if samples == 1 else f"{samples} passes"


def _image_charts(results: Sequence[Mapping[str, Any]]) -> Iterator[Chart]:
    tasks = list(dict.fromkeys(task for _, task, _ in _rows(results, "images")))
    for task in tasks:
        found = {_passes(s): values for s, name, values in _rows(results, "images") if name == task}
        curves = {name: (np.array(LEVELS), np.array(values["coverage"])) for name, values in found.items()}
        text = "Part of the voxels whose truth lies in the predicted central interval. Below the dotted line: too sure."
        svg = reliability_chart(curves, "level of the interval", "part of the truth in it", name=f"coverage {task}")
        yield chart(f"Intervals of {task}", svg, text)
        text = "z = (truth - prediction) / predicted standard deviation. Line: what honest Gaussian errors would give."
        histograms = {name: np.array(values["histogram"], float) for name, values in found.items()}
        yield chart(f"z-scores of {task}", z_chart(histograms, name=f"z {task}"), text)


def _label_charts(results: Sequence[Mapping[str, Any]]) -> Iterator[Chart]:
    for samples, task, organs in _rows(results, "labels"):
        curves = {
            organ.replace("_", " "): (np.array(values["curve"])[:, 0], np.array(values["curve"])[:, 1])
            for organ, values in organs.items()
            if values["curve"]
        }
        if not curves:
            continue
        title = f"Probabilities of {task}, {_passes(samples)}"
        text = f"How often it is what it was given a probability for, in {BINS} bins. Below the dotted line: too sure."
        yield chart(title, reliability_chart(curves, "probability given", "part that is true", name=title), text)


def reliability_chart(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], across: str, up: str, *, name: str) -> str:
    """Draw what was observed over what was said, both 0 to 1, and the diagonal of perfect calibration.

    Args:
        curves: legend entry to (said, observed).
        across: label of the horizontal axis.
        up: label of the vertical axis.
        name: of the chart, unique on the page.
    """
    with drawing(5.2, 5.0, name) as (figure, result):
        axes = figure.add_subplot()
        axes.plot((0, 1), (0, 1), ":", color=INK, linewidth=1.2)
        for number, (title, (said, observed)) in enumerate(curves.items()):
            colour = LINE_COLOURS[number % len(LINE_COLOURS)]
            axes.plot(said, observed, "o-", color=colour, label=title, linewidth=1.6, markersize=3.5)
        axes.set(xlabel=across, ylabel=up, xlim=(0, 1), ylim=(0, 1), aspect="equal")
        figure.legend(loc="outside lower center", ncols=min(3, len(curves)), fontsize=10)
    return result[0]


def z_chart(histograms: Mapping[str, np.ndarray], *, name: str) -> str:
    """Draw densities of z-scores over the standard normal density.

    Args:
        histograms: legend entry to counts in the bins of :data:`sfg_med.metrics.calibration.Z_EDGES`.
        name: of the chart, unique on the page.
    """
    edges = np.array(Z_EDGES)
    with drawing(6.4, 3.6, name) as (figure, result):
        axes = figure.add_subplot()
        for number, (title, counts) in enumerate(histograms.items()):
            density = counts / max(counts.sum(), 1) / np.diff(edges)
            axes.stairs(density, edges, color=LINE_COLOURS[number % len(LINE_COLOURS)], label=title, linewidth=1.6)
        fine = np.linspace(edges[0], edges[-1], 200)
        axes.plot(fine, norm.pdf(fine), ":", color=INK, linewidth=1.4, label="honest Gaussian errors")
        axes.set(xlabel="z (outermost bins: all beyond)", ylabel="density", xlim=(edges[0], edges[-1]))
        axes.set_ylim(bottom=0)
        figure.legend(loc="outside lower center", ncols=min(3, len(histograms) + 1), fontsize=10)
    return result[0]
