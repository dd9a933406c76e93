# SPDX-License-Identifier: Apache-2.0
"""Charts of a comparison of strategies: every run is a dot, every mean has its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sfg_med.metrics.comparison import Interval, lower_is_better
from sfg_med.report.charts import LINE_COLOURS, drawing, group_colours
from sfg_med.report.comparison_analysis import Effect, summaries
from sfg_med.report.comparison_data import Comparison
from sfg_med.report.comparison_words import p_text
from sfg_med.report.run_files import Shares

_INK = "#010203"  # the page's own ink, see charts
_DOT, _GOOD = "#3b8fd6", "#2c9c79"
# Fewer strategies can all be told apart on any axis.
SEVERAL = 5
_MARKERS = ("o", "s", "^", "D")
_Values = Sequence[float] | NDArray[np.float64]


def metric_dots(comparison: Comparison, metrics: Mapping[str, str], *, name: str, across: int = 3) -> str:
    """Draw metrics by strategy: a panel for each metric, a row for each strategy.

    Args:
        comparison: the runs.
        metrics: metric to title of its panel.
        name: of the chart, unique on the page.
        across: panels beside each other.
    """
    strategies = comparison.strategies
    across = min(across, len(metrics))
    down = -(-len(metrics) // across)
    with drawing(2.2 + 3.3 * across, down * (0.8 + 0.27 * len(strategies)), name) as (figure, result):
        grid = figure.subplots(down, across, sharey=True, squeeze=False)
        for axes in grid.flat[len(metrics) :]:
            axes.set_axis_off()
        for axes, (metric, title) in zip(grid.flat, metrics.items(), strict=False):
            for row, strategy in enumerate(strategies):
                values = comparison.values(strategy, metric)
                axes.plot(values, np.full(len(values), row), "o", color=_DOT, alpha=0.65, markersize=4.5)
            found = summaries(comparison, metric)
            means = [found.get(s) for s in strategies]
            _means(axes, means)
            axes.set_xlim(_limits({s: comparison.values(s, metric) for s in strategies}))
            _name_those_outside(axes, means)
            axes.set_xlabel(f"{title}, {'lower' if lower_is_better(metric) else 'higher'} is better")
            axes.xaxis.set_major_locator(MaxNLocator(5))
        _rows(grid[0, 0], strategies)
    return result[0]


def scatter_pair(comparison: Comparison, panels: Sequence[tuple[str, str]], titles: Mapping[str, str]) -> str:
    """Draw means of two quantities against each other, with intervals, for each pair of names.

    Args:
        comparison: the runs.
        panels: names of the horizontal and the vertical quantity (metrics or costs) of each panel.
        titles: name to axis title.
    """
    styles = list(product(_MARKERS, LINE_COLOURS))
    with drawing(4.6 * len(panels) + 1.9, 4.0, "scatter of means") as (figure, result):
        grid = figure.subplots(1, len(panels), squeeze=False)
        for axes, (across, up) in zip(grid.flat, panels, strict=True):
            horizontal, vertical = summaries(comparison, across), summaries(comparison, up)
            for number, strategy in enumerate(comparison.strategies):
                if strategy not in horizontal or strategy not in vertical:
                    continue
                marker, colour = styles[number % len(styles)]
                x, y = horizontal[strategy], vertical[strategy]
                axes.plot(_ends(x), [y.mean, y.mean], color=colour, linewidth=0.9, alpha=0.6)
                axes.plot([x.mean, x.mean], _ends(y), color=colour, linewidth=0.9, alpha=0.6)
                axes.plot([x.mean], [y.mean], marker, color=colour, markersize=7, label=strategy)
            drawn = [s for s in comparison.strategies if s in horizontal and s in vertical]
            axes.set_xlim(_limits({s: comparison.values(s, across) for s in drawn}))
            axes.set_ylim(_limits({s: comparison.values(s, up) for s in drawn}))
            axes.set(xlabel=titles[across], ylabel=titles[up])
            beyond = [
                f"{s} at {horizontal[s].mean:.3g}, {vertical[s].mean:.3g}"
                for s in drawn
                if not (_inside(axes.get_xlim(), horizontal[s].mean) and _inside(axes.get_ylim(), vertical[s].mean))
            ]
            if beyond:
                axes.set_title(f"beyond: {'; '.join(beyond)}", fontsize=9)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        handles, labels = grid[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside right center", fontsize=10)
    return result[0]


def forest(found: Mapping[str, Sequence[Effect]], titles: Mapping[str, str], baseline: str) -> str:
    """Draw the differences from a baseline: a panel for each metric, a row for each strategy, the p value beside.

    Args:
        found: metric to effects.
        titles: metric to title.
        baseline: name of the baseline.
    """
    strategies = list(dict.fromkeys(effect.strategy for row in found.values() for effect in row))
    size = (2.0 + 3.6 * len(found), 1.1 + 0.29 * len(strategies))
    with drawing(*size, f"differences from {baseline}") as (figure, result):
        grid = figure.subplots(1, len(found), sharey=True, squeeze=False)
        for axes, (metric, row) in zip(grid.flat, found.items(), strict=True):
            axes.axvline(0, color=_INK, linewidth=1)
            by_name = {effect.strategy: effect for effect in row}
            for place, strategy in enumerate(strategies):
                if strategy in by_name:
                    _effect(axes, place, by_name[strategy])
            differences = [by_name[s].paired.difference if s in by_name else None for s in strategies]
            _means(axes, differences)
            low, high = _limits({baseline: [0.0], **{name: _reach(effect) for name, effect in by_name.items()}})
            better = (low, 0) if lower_is_better(metric) else (0, high)
            axes.axvspan(*better, color=_GOOD, alpha=0.1, linewidth=0)
            axes.set_xlim(low, high)
            _name_those_outside(axes, differences)
            axes.set_xlabel(f"difference in {titles[metric]}")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            if not all(math.isnan(effect.paired.p) for effect in row):
                axes.text(1.02, 1.0, "p (corrected)", transform=axes.transAxes, va="bottom", fontsize=9)
        _rows(grid[0, 0], strategies)
    return result[0]


def depth_shares(shares: Mapping[str, Shares]) -> str:
    """Draw the final share of each group along the depth of each strategy's network, one panel a strategy.

    Args:
        shares: panel title to shares; the last record is drawn.
    """
    groups = list(dict.fromkeys(group for one in shares.values() for group in one.groups))
    colours = dict(zip(groups, group_colours(groups), strict=True))
    across = min(3, len(shares))
    down = -(-len(shares) // across)
    with drawing(11.6, 0.7 + 2.3 * down, "group shares by depth") as (figure, result):
        grid = figure.subplots(down, across, sharey=True, squeeze=False)
        for axes in grid.flat[len(shares) :]:
            axes.set_axis_off()
        for axes, (title, one) in zip(grid.flat, shares.items(), strict=False):
            places = np.arange(1, len(one.layers) + 1)
            bottom = np.zeros(len(one.layers))
            for number, group in enumerate(one.groups):
                heights = one.values[-1, :, number]
                axes.bar(places, heights, 0.9, bottom=bottom, color=colours[group], label=group)
                bottom += heights
            axes.set_title(title, fontsize=11)
            axes.set(xlabel="layer, in forward order", ylim=(0, 1))
            _mark_decoder(axes, one.layers)
            axes.margins(x=0.01)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
            axes.grid(visible=False, axis="x")
        handles = {}
        for axes in grid.flat:
            handles.update({label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)})
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(7, len(handles)))
    return result[0]


def _mark_decoder(axes: Axes, layers: Sequence[str]) -> None:
    """Mark where a U-Net turns upwards; other networks have no such place."""
    ups = [place for place, name in enumerate(layers) if name.startswith("up ")]
    if ups and layers[0].startswith("down "):
        axes.axvline(ups[0] + 0.5, color=_INK, linewidth=1.4, linestyle=":")


def _effect(axes: Axes, place: int, effect: Effect) -> None:
    axes.plot(effect.runs, np.full(len(effect.runs), place), "o", color=_DOT, alpha=0.65, markersize=4)
    if math.isnan(effect.paired.p):
        return
    text = f"{p_text(effect.paired.p)} ({p_text(effect.p_holm)})"
    axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9)


def _means(axes: Axes, intervals: Sequence[Interval | None]) -> None:
    """Draw a mean and its interval in each row that has one."""
    for place, interval in enumerate(intervals):
        if interval is None or math.isnan(interval.mean):
            continue
        axes.plot(_ends(interval), [place, place], "-", color=_INK, linewidth=1.4)
        axes.plot([interval.mean], [place], "|", color=_INK, markersize=11, markeredgewidth=2)


def _limits(values: Mapping[str, _Values]) -> tuple[float, float]:
    """Limits of an axis, from the strategies' runs: with two or three runs an interval can be many times wider.

    Of several strategies the one whose mean is so far off that the others would share less than half of the axis stays
    outside.
    """
    known = {name: row for name, row in values.items() if len(row)}
    if not known:
        return 0.0, 1.0
    if len(known) >= SEVERAL:
        centre = float(np.median([v for row in known.values() for v in row]))
        farthest = max(known, key=lambda name: abs(float(np.mean(known[name])) - centre))
        others = {name: row for name, row in known.items() if name != farthest}
        if _range(others) < 0.5 * _range(known):
            known = others
    low, high = (end(v for row in known.values() for v in row) for end in (min, max))
    margin = 0.25 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _reach(effect: Effect) -> list[float]:
    """An effect's runs and the ends of its interval, which a forest has to show."""
    return [v for v in (*effect.runs, effect.paired.difference.low, effect.paired.difference.high) if math.isfinite(v)]


def _range(values: Mapping[str, _Values]) -> float:
    flat = [v for row in values.values() for v in row]
    return max(flat) - min(flat)


def _inside(limits: tuple[float, float], value: float) -> bool:
    return limits[0] <= value <= limits[1]


def _name_those_outside(axes: Axes, intervals: Sequence[Interval | None]) -> None:
    """Write the mean at the edge of the axis in the row of a strategy that lies beyond it."""
    low, high = axes.get_xlim()
    for place, interval in enumerate(intervals):
        if interval is None or math.isnan(interval.mean) or _inside((low, high), interval.mean):
            continue
        right = interval.mean > high
        text = f"{interval.mean:.3g} \u2192" if right else f"\u2190 {interval.mean:.3g}"
        edge = 0.985 if right else 0.015
        where = axes.get_yaxis_transform()
        axes.text(edge, place, text, transform=where, va="center", ha="right" if right else "left", fontsize=9)


def _ends(interval: Interval) -> list[float]:
    return [interval.mean if math.isnan(end) else end for end in (interval.low, interval.high)]


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
