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
from sfg_med.data.atomic import write_text
from sfg_med.errors import SfgMedError
from sfg_med.report import comparison_charts as charts
from sfg_med.report.charts import standalone
from sfg_med.report.comparison_analysis import Effect, clear_best, effects, gains, summaries
from sfg_med.report.comparison_conditions import condition_rows, own_settings
from sfg_med.report.comparison_data import Comparison, FinishedRun, read_comparison, write_table
from sfg_med.report.comparison_words import digits, finding, limits, metric_title
from sfg_med.report.html import render
from sfg_med.report.run_files import GROUPS, Shares, read_shares

PAGE, TABLE, FIGURES = "index.html", "results.csv", "figures"
COST_TITLES = {"parameters": "parameters (million)", "gflops": "arithmetic (GFLOP a pass)", "seconds": "training (min)"}


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
        summaries: strategy to what it is, in a line.
    """

    question: str
    headline: Sequence[str]
    gain_metrics: Sequence[str] = ()
    titles: Mapping[str, str] | None = None
    baselines: Sequence[str] = ("hard-sharing", "single-task")
    gain_over: str = "single-task"
    notes: Sequence[str] = ()
    summaries: Mapping[str, str] | None = None

    def title(self, name: str) -> str:
        """Title of a metric or cost."""
        return {**COST_TITLES, **(self.titles or {})}.get(name) or metric_title(name)


def write_comparison(out: Path, options: Options, planned: Iterable[tuple[str, int, int]] = ()) -> Path:
    """Write ``OUT/results.csv``, ``OUT/index.html`` and its ``OUT/figures`` from the runs under ``OUT/runs``.

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
    forests = {
        b: _svg(charts.forest(found, {n: options.title(n) for n in headline}, b))
        for b, found in tested.items()
        if any(found.values())
    }
    figures = {
        "metrics": _svg(
            charts.metric_dots(comparison, {n: options.title(n) for n in headline}, name="metrics by strategy")
        ),
        "scatter": _scatter(comparison, headline, options),
        "shares": _shares(comparison),
        **{f"differences_from_{b}": forest for b, forest in forests.items()},
    }
    for name, svg in figures.items():
        if svg is not None:
            write_text(out / FIGURES / f"{name}.svg", standalone(str(svg)))
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
        findings=[finding(comparison, name, options.title(name), tested) for name in headline[:2]],
        dots=figures["metrics"],
        scatter=figures["scatter"],
        forests=forests,
        shares=figures["shares"],
        others=_svg(charts.metric_dots(comparison, rest, name="other metrics by strategy")) if rest else None,
        conditions=condition_rows(comparison.conditions),
        settings=own_settings(comparison),
        notes=[*limits(comparison, tested), *options.notes],
    )


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
