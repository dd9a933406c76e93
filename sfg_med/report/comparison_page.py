# SPDX-License-Identifier: Apache-2.0
"""``index.html`` of a comparison: what the tasks should share, with how sure one can be of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sfg_med import __version__
from sfg_med.errors import SfgMedError
from sfg_med.metrics.comparison import Interval, lower_is_better
from sfg_med.report import comparison_charts as charts
from sfg_med.report.comparison_analysis import Effect, clear_best, effects, gains, ranked, summaries
from sfg_med.report.comparison_data import Comparison, FinishedRun, read_comparison, write_table
from sfg_med.report.html import render
from sfg_med.report.run_files import GROUPS, Shares, read_shares

PAGE, TABLE = "index.html", "results.csv"
COST_TITLES = {"parameters": "parameters (million)", "gflops": "arithmetic (GFLOP a pass)", "seconds": "training (min)"}
_WORDS = {"mae": "MAE", "psnr": "PSNR", "ssim": "SSIM", "dice": "Dice", "hd95": "HD95", "rmse": "RMSE", "ms": "MS"}
_UNITS = {"hu": "HU", "mm": "mm", "db": "dB"}


@dataclass(frozen=True)
class Options:
    """What a page shows.

    Args:
        question: the comparison's question in one line.
        headline: metrics of the table and the main charts, the most important one first; the first two are drawn
            against each other.
        gain_metrics: metrics of the relative gain, one for each task; the first two of ``headline`` by default.
        titles: metric to title, where the one made from its name does not do.
        baselines: strategies that the others are tested against.
        gain_over: strategy that the relative gain is measured against.
        notes: further lines for the reader, such as what the data are.
    """

    question: str
    headline: Sequence[str]
    gain_metrics: Sequence[str] = ()
    titles: Mapping[str, str] | None = None
    baselines: Sequence[str] = ("hard-sharing", "single-task")
    gain_over: str = "single-task"
    notes: Sequence[str] = ()

    def title(self, name: str) -> str:
        """Title of a metric or cost."""
        return {**COST_TITLES, **(self.titles or {})}.get(name) or metric_title(name)


def write_comparison(out: Path, options: Options, planned: Iterable[tuple[str, int, int]] = ()) -> Path:
    """Write ``OUT/results.csv`` and ``OUT/index.html`` from the runs under ``OUT/runs``.

    Args:
        out: the comparison's folder.
        options: what the page shows.
        planned: strategy, seed and fold of the runs that should be there; the page lists those that are missing.

    Returns:
        Path of the page.

    Raises:
        SfgMedError: if no run is finished.
    """
    comparison = read_comparison(out, planned)
    if not comparison.runs:
        raise SfgMedError(out / "runs", "at least one finished run", "none", "run some first")
    write_table(comparison, out / TABLE)
    headline = [name for name in options.headline if name in comparison.metrics] or comparison.metrics[:2]
    tested = {b: _tested(comparison, headline, b) for b in options.baselines if b in comparison.strategies}
    rest = {name: options.title(name) for name in comparison.metrics if name not in headline}
    return render(
        "comparison.html.j2",
        out / PAGE,
        options=options,
        version=__version__,
        comparison=comparison,
        headline=headline,
        titles={name: options.title(name) for name in (*comparison.metrics, *COST_TITLES)},
        rows=_rows(comparison, headline, options),
        seeds=sorted({run.key.seed for run in comparison.runs}),
        folds=sorted({run.key.fold for run in comparison.runs}),
        findings=[_finding(comparison, name, tested, options) for name in headline[:2]],
        dots=_svg(charts.metric_dots(comparison, {n: options.title(n) for n in headline}, name="metrics by strategy")),
        scatter=_scatter(comparison, headline, options),
        forests={
            b: _svg(charts.forest(found, {n: options.title(n) for n in headline}, b))
            for b, found in tested.items()
            if any(found.values())
        },
        shares=_shares(comparison),
        others=_svg(charts.metric_dots(comparison, rest, name="other metrics by strategy")) if rest else None,
        notes=[*_limits(comparison, tested), *options.notes],
    )


def metric_title(name: str) -> str:
    """Readable title of a metric: ``Dice rectum`` for ``dice_rectum``, ``MAE bone (HU)`` for ``mae_bone_hu``."""
    words = name.split("_")
    unit = next((_UNITS[word] for word in words[1:] if word in _UNITS), "")
    text = " ".join(_WORDS.get(word, word) for word in words if _UNITS.get(word, "") != unit or not unit)
    text = text.replace("MS SSIM", "MS-SSIM").replace("Dice mean", "mean Dice")
    return f"{text} ({unit})" if unit else text


def digits(interval: Interval) -> int:
    """Decimals that show three figures of a mean."""
    size = abs(interval.mean)
    return 0 if size >= 1000 or not math.isfinite(size) else 1 if size >= 10 else 2 if size >= 3 else 3


def _svg(text: str) -> Markup:
    return Markup(text)  # safe: drawn by matplotlib, which escapes all text


def _tested(comparison: Comparison, metrics: Sequence[str], baseline: str) -> dict[str, list[Effect]]:
    return {metric: effects(comparison, metric, baseline) for metric in metrics}


def _rows(comparison: Comparison, headline: Sequence[str], options: Options) -> list[dict[str, Any]]:
    """One row of the table for each strategy."""
    best = {name: clear_best(comparison, name) for name in headline}
    gained = gains(comparison, options.gain_metrics or headline[:2], options.gain_over)
    means = {name: summaries(comparison, name) for name in headline}
    rows = []
    for strategy in comparison.strategies:
        cells = [(means[name].get(strategy), best[name] == strategy) for name in headline]
        rows.append(
            {
                "strategy": strategy,
                "cells": [(cell, digits(cell) if cell else 0, bold) for cell, bold in cells],
                "gain": None if strategy == options.gain_over else gained[strategy],
                "runs": len(comparison.of(strategy)),
                **{name: _mean(comparison.values(strategy, name)) for name in (*COST_TITLES, "samples")},
            }
        )
    return rows


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _finding(
    comparison: Comparison, metric: str, tested: Mapping[str, Mapping[str, Sequence[Effect]]], options: Options
) -> str:
    """Say in words which strategy has the best mean, and how it stands to the baselines."""
    order = ranked(comparison, metric)
    best = summaries(comparison, metric)[order[0]]
    text = f"{options.title(metric)}: best mean {best.mean:.{digits(best)}f} by {order[0]}"
    if len(order) > 1:
        clear = clear_best(comparison, metric) is not None
        text += ", and its interval reaches no other mean" if clear else ", not set apart from the next by its interval"
    for baseline, found in tested.items():
        effect = next((e for e in found[metric] if e.strategy == order[0]), None)
        if effect is not None and not math.isnan(effect.p_holm):
            size = effect.paired.difference
            text += f"; against {baseline} {size.mean:+.{digits(best)}f} (corrected p {effect.p_holm:.2g})"
    return f"{text}."


def _scatter(comparison: Comparison, headline: Sequence[str], options: Options) -> Markup | None:
    panels = [(headline[0], headline[1])] if len(headline) > 1 else []
    if comparison.strategies and any(summaries(comparison, "gflops")):
        panels.append(("gflops", headline[0]))
    if not panels:
        return None
    titles = {name: options.title(name) for pair in panels for name in pair}
    return _svg(charts.scatter_pair(comparison, panels, titles))


def _shares(comparison: Comparison) -> Markup | None:
    """Group shares by depth of the strategies whose layers differ in them, averaged over the runs."""
    found = {}
    for strategy in comparison.strategies:
        runs = [shares for run in comparison.of(strategy) if (shares := _run_shares(run)) is not None]
        if runs and (mean := _mean_shares(runs)) is not None and np.ptp(mean.values[-1], axis=0).max() > 0.1:
            found[f"{strategy} (mean of {len(runs)} runs)" if len(runs) > 1 else strategy] = mean
    return _svg(charts.depth_shares(found)) if found else None


def _run_shares(run: FinishedRun) -> Shares | None:
    try:
        shares = read_shares(run.folder / GROUPS)
    except SfgMedError:  # strategies without groups have no such file
        return None
    return shares if shares.steps else None


def _mean_shares(runs: Sequence[Shares]) -> Shares | None:
    """Mean of the last records; groups that a run does not have count as empty there."""
    first = runs[0]
    groups = tuple(dict.fromkeys(group for run in runs for group in run.groups))
    if any(run.layers != first.layers for run in runs):
        return None
    values = np.zeros((1, len(first.layers), len(groups)))
    for run in runs:
        values[0][:, [groups.index(group) for group in run.groups]] += run.values[-1] / len(runs)
    return Shares(groups, first.layers, first.kernels, first.steps[-1:], values)


def _limits(comparison: Comparison, tested: Mapping[str, Mapping[str, Sequence[Effect]]]) -> list[str]:
    """What the numbers of this comparison cannot say."""
    runs = max(len(comparison.of(strategy)) for strategy in comparison.strategies)
    lines = [
        f"Intervals of the means are 95 % intervals of Student's t over the runs ({runs} of a strategy at most); "
        "with few runs they are wide, as they should be."
    ]
    if runs == 1:
        lines = ["One run of each strategy: there are no intervals, and how much another seed changes is not known."]
    effect = next((e for found in tested.values() for row in found.values() for e in row), None)
    if effect is not None and effect.paired.difference.n > 1:
        count, smallest = effect.paired.difference.n, effect.paired.smallest_p
        text = (
            f"Tests: the unit is the test case ({count} of them), with its values averaged over the runs. The signs of "
            "the paired differences are flipped; p values are corrected over the strategies by Holm's method. With "
            f"{count} cases an uncorrected p value cannot be below {smallest:.2g}"
        )
        lines.append(f"{text}, so nothing here can be significant at 0.05." if smallest > 0.05 else f"{text}.")
        lines.append(
            "Intervals of differences are bootstrap intervals over the test cases. They hold for the networks trained "
            "here; the dots show how other seeds come out."
        )
    if any(not lower_is_better(name) for name in comparison.metrics):
        lines.append(
            "The relative gain weighs an error and a score by their own size, so it depends on the choice of metrics."
        )
    return lines
