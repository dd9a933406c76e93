# SPDX-License-Identifier: Apache-2.0
"""Is one strategy better than another? Intervals over runs, paired tests over test cases, relative gain.

Two things vary and are kept apart. Training again with another seed gives another network: :func:`mean_interval`
describes how the runs scatter. The test cases are a sample of patients: :func:`paired_comparison` asks whether a
difference holds over them. Neither says anything about patients or data unlike those of the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RESAMPLES = 9999
_AT_ONCE = 2_000_000  # numbers in memory
_LOWER_FIRST, _LOWER_LAST = ("mae", "rmse", "hd95"), ("_hu", "_mm")


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; ``low`` and ``high`` are NaN where there is none, ``mean`` too without values."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Paired:
    """Mean difference over cases, its interval, and the test that it is zero.

    Args:
        difference: interval of the mean difference; ``n`` is the number of cases.
        p: two-sided p value; NaN with fewer than two cases.
        smallest_p: the smallest p value that this number of cases can give, whatever the differences.
    """

    difference: Interval
    p: float
    smallest_p: float


def lower_is_better(metric: str) -> bool:
    """Whether a metric is an error, going by its name."""
    return metric.startswith(_LOWER_FIRST) or metric.endswith(_LOWER_LAST)


def mean_interval(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Mean over runs and the interval of Student's t distribution.

    The unit is a run (a seed and a fold). With three runs the interval is 4.3 standard errors wide on either side,
    with two 12.7; with one there is none. Runs of different folds share training cases, so that with folds the
    interval is a description, not a proof. Values that are not finite are left out.
    """
    numbers = _finite(values)
    if not numbers.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(numbers.mean())
    if numbers.size < 2:
        return Interval(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf((1 + confidence) / 2, numbers.size - 1) * stats.sem(numbers))
    return Interval(mean, mean - half, mean + half, int(numbers.size))


def paired_comparison(differences: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Paired:
    """Test whether the mean of paired differences is zero, by flipping their signs.

    The unit of resampling is the test case: give one difference a case, averaged over seeds before. Several seeds
    make each difference less noisy; they do not make more cases. The test is exact where ``2 ** cases`` sign
    patterns are no more than ``resamples`` (up to 13 cases), and drawn at random otherwise. The two-sided p value
    cannot be smaller than ``2 / 2 ** cases``: 0.0625 with 5 cases, so that 5 cases cannot show a difference at the
    usual 0.05, however large and consistent it is. The interval is the percentile bootstrap over the cases; with
    fewer than about ten it is too narrow.

    Args:
        differences: one for each case; values that are not finite are left out.
        resamples: draws of the bootstrap, and of the test where it is not exact.
        seed: of the draws.
    """
    sample = _finite(differences)
    count = int(sample.size)
    if count < 2:
        mean = float(sample[0]) if count else math.nan
        return Paired(Interval(mean, math.nan, math.nan, count), math.nan, 1.0)
    options: dict[str, Any] = {"n_resamples": resamples, "batch": max(1, _AT_ONCE // count)}
    signs, draws = np.random.default_rng(seed), np.random.default_rng(seed)
    test = stats.permutation_test((sample,), np.mean, permutation_type="samples", axis=0, rng=signs, **options)
    spread = stats.bootstrap((sample,), np.mean, method="percentile", rng=draws, **options)
    low, high = spread.confidence_interval
    smallest = 2 / 2**count if 2**count <= resamples else 2 / (resamples + 1)
    return Paired(Interval(float(sample.mean()), float(low), float(high), count), float(test.pvalue), smallest)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values of one family by Holm's step-down method; NaN stays NaN and does not count."""
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[index] = highest
    return corrected


def relative_gain(values: Mapping[str, float], baseline: Mapping[str, float], metrics: Sequence[str]) -> float:
    """Mean relative gain of a multi-task network over a baseline, usually the single-task networks.

    ``1/T sum_i (-1)^l_i (M_i - B_i) / B_i`` with ``l_i = 1`` where lower is better: 0.05 means 5 % better on average.
    Errors and scores are weighed by their own size, so that it depends on the choice of metrics: a Dice near 1 can
    gain little, an error can gain up to 1.

    Args:
        values: metric to value of the strategy.
        baseline: metric to value of the baseline.
        metrics: the metrics to average over, one for each task.

    Returns:
        The gain; NaN where a value is missing or the baseline is 0.
    """
    gains = []
    for metric in metrics:
        value, reference = values.get(metric, math.nan), baseline.get(metric, math.nan)
        gain = (value - reference) / reference if reference else math.nan
        gains.append(-gain if lower_is_better(metric) else gain)
    return math.fsum(gains) / len(gains) if gains else math.nan


def _finite(values: ArrayLike) -> np.ndarray:
    numbers = np.asarray(values, dtype=np.float64).ravel()
    return numbers[np.isfinite(numbers)]
