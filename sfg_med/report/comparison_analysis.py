# SPDX-License-Identifier: Apache-2.0
"""What a comparison says: effects against a baseline, relative gains, and which strategy is best for certain."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfg_med.metrics.comparison import (
    Interval,
    Paired,
    holm,
    lower_is_better,
    mean_interval,
    paired_comparison,
    relative_gain,
)
from sfg_med.report.comparison_data import Comparison, FinishedRun


@dataclass(frozen=True)
class Effect:
    """A strategy's difference from a baseline in one metric (strategy minus baseline).

    Args:
        strategy: name of the strategy.
        paired: interval over the test cases and test; each case's difference is the mean over the runs.
        p_holm: p value corrected over the strategies that are compared with the same baseline in this metric.
        runs: difference of the means of each pair of runs of the same seed and fold.
    """

    strategy: str
    paired: Paired
    p_holm: float
    runs: Sequence[float]


def effects(comparison: Comparison, metric: str, baseline: str) -> list[Effect]:
    """Compare every other strategy with a baseline, in the order of the strategies."""
    found: list[tuple[str, Paired, list[float]]] = []
    for strategy in comparison.strategies:
        pairs = comparison.pairs(strategy, baseline)
        if strategy == baseline or not pairs:
            continue
        differences = list(_case_differences(pairs, metric).values())
        runs = [run.value(metric) - other.value(metric) for run, other in pairs]
        found.append((strategy, paired_comparison(differences), [d for d in runs if math.isfinite(d)]))
    corrected = holm([paired.p for _, paired, _ in found])
    return [Effect(*parts[:2], p, parts[2]) for parts, p in zip(found, corrected, strict=True)]


def gains(comparison: Comparison, metrics: Sequence[str], baseline: str) -> dict[str, Interval]:
    """Relative multi-task gain over a baseline, from runs of the same seed and fold, averaged over these."""
    result = {}
    for strategy in comparison.strategies:
        pairs = comparison.pairs(strategy, baseline)
        result[strategy] = mean_interval([relative_gain(_row(a, metrics), _row(b, metrics), metrics) for a, b in pairs])
    return result


def summaries(comparison: Comparison, metric: str) -> dict[str, Interval]:
    """Mean over the runs of every strategy that has the metric."""
    found = {s: mean_interval(comparison.values(s, metric)) for s in comparison.strategies}
    return {strategy: interval for strategy, interval in found.items() if interval.n}


def ranked(comparison: Comparison, metric: str) -> list[str]:
    """Strategies from the best mean to the worst."""
    found = summaries(comparison, metric)
    return sorted(found, key=lambda strategy: found[strategy].mean, reverse=not lower_is_better(metric))


def clear_best(comparison: Comparison, metric: str) -> str | None:
    """The best strategy, if its interval over the runs reaches no other strategy's mean."""
    order, found = ranked(comparison, metric), summaries(comparison, metric)
    if len(order) < 2 or found[order[0]].n < 2:
        return None
    first, second = found[order[0]], found[order[1]]
    clear = first.high < second.mean if lower_is_better(metric) else first.low > second.mean
    return order[0] if clear else None


def _case_differences(pairs: Sequence[tuple[FinishedRun, FinishedRun]], metric: str) -> dict[str, float]:
    """Case to its difference, averaged over the pairs of runs that tested it."""
    found: dict[str, list[float]] = defaultdict(list)
    for run, other in pairs:
        for case in run.cases.keys() & other.cases.keys():
            difference = run.cases[case].get(metric, math.nan) - other.cases[case].get(metric, math.nan)
            if math.isfinite(difference):
                found[case].append(difference)
    return {case: float(np.mean(found[case])) for case in sorted(found)}


def _row(run: FinishedRun, metrics: Sequence[str]) -> dict[str, float]:
    return {metric: run.value(metric) for metric in metrics}
