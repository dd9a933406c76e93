# SPDX-License-Identifier: Apache-2.0
"""Intervals, paired tests and gains against textbook formulas and brute force."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sfg_med.metrics.comparison import holm, lower_is_better, mean_interval, paired_comparison, relative_gain


def test_mean_interval_is_that_of_the_t_distribution() -> None:
    found = mean_interval([30.0, 33.0, 36.0, math.nan])
    low, high = stats.t.interval(0.95, 2, loc=33.0, scale=3 / math.sqrt(3))
    assert (found.mean, found.n) == (33.0, 3)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.high - found.mean == pytest.approx(4.303 * math.sqrt(3), rel=1e-3)


def test_few_runs_have_no_interval() -> None:
    one, none = mean_interval([5.0]), mean_interval([math.nan])
    assert (one.mean, one.n) == (5.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(none.mean)
    assert none.n == 0


def brute_force(differences: list[float]) -> float:
    """Part of all sign patterns whose mean is at least as far from zero; the null distribution is symmetric."""
    means = [np.mean(np.multiply(signs, differences)) for signs in product((-1, 1), repeat=len(differences))]
    return float(np.mean(np.abs(means) >= abs(np.mean(differences)) - 1e-9))


@pytest.mark.parametrize(
    "differences", [[-1.0, -2.0, -3.0, -0.5, -1.5], [1.0, -2.0, 3.0, 0.25], [0.5, 0.5, -0.5, 2.0, 1.0, -3.5], [0, 0, 1]]
)
def test_p_value_is_that_of_all_sign_patterns(differences: list[float]) -> None:
    assert paired_comparison(differences).p == pytest.approx(min(1.0, brute_force(differences)))


@pytest.mark.parametrize(("cases", "smallest"), [(2, 0.5), (5, 0.0625), (10, 2 / 1024)])
def test_the_smallest_p_value_depends_on_the_cases_only(cases: int, smallest: float) -> None:
    found = paired_comparison(np.linspace(100.0, 101.0, cases))
    assert found.p == found.smallest_p == pytest.approx(smallest)
    assert found.difference.n == cases


def test_many_cases_are_drawn_at_random_but_repeatably() -> None:
    differences = np.random.default_rng(3).normal(0.5, 1.0, 40)
    found = paired_comparison(differences, seed=1)
    assert found == paired_comparison(differences, seed=1)
    assert found.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert found.smallest_p == pytest.approx(2e-4)
    low, high = stats.t.interval(0.95, 39, loc=differences.mean(), scale=stats.sem(differences))
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=0.05)


def test_nothing_can_be_tested_with_one_case() -> None:
    found = paired_comparison([2.0, math.nan])
    assert (found.difference.mean, found.difference.n, found.smallest_p) == (2.0, 1, 1.0)
    assert math.isnan(found.p)
    assert math.isnan(paired_comparison([]).difference.mean)


def test_equal_cases_do_not_differ() -> None:
    found = paired_comparison(np.zeros(6))
    assert (found.p, found.difference.low, found.difference.high) == (1.0, 0.0, 0.0)


def test_holm_against_a_hand_computed_case() -> None:
    assert holm([0.01, 0.04, math.nan, 0.03]) == pytest.approx([0.03, 0.06, math.nan, 0.06], nan_ok=True)
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_the_raw_and_the_bonferroni_value(values: list[float]) -> None:
    found = holm(values)
    assert all(p <= q <= min(1.0, len(values) * p) + 1e-12 for p, q in zip(values, found, strict=True))
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(np.array(found)[order]) >= 0)


def test_gain_counts_errors_down_and_scores_up() -> None:
    gain = relative_gain(
        {"mae_hu": 30.0, "dice_mean": 0.9}, {"mae_hu": 40.0, "dice_mean": 0.8}, ["mae_hu", "dice_mean"]
    )
    assert gain == pytest.approx((0.25 + 0.125) / 2)
    assert relative_gain({"mae_hu": 44.0}, {"mae_hu": 40.0}, ["mae_hu"]) == pytest.approx(-0.1)
    assert math.isnan(relative_gain({}, {"mae_hu": 40.0}, ["mae_hu"]))
    assert math.isnan(relative_gain({"dice_mean": 0.5}, {"dice_mean": 0.0}, ["dice_mean"]))


@pytest.mark.parametrize("metric", ["mae_hu", "mae_age", "rmse_age", "hd95_mm_rectum", "error_mm"])
def test_errors_are_known_by_their_names(metric: str) -> None:
    assert lower_is_better(metric)


@pytest.mark.parametrize("metric", ["dice_mean", "accuracy_gender", "psnr_db", "ms_ssim"])
def test_scores_are_known_by_their_names(metric: str) -> None:
    assert not lower_is_better(metric)
