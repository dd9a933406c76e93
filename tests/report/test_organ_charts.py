# SPDX-License-Identifier: Apache-2.0
"""Small charts: counts against NumPy, positions against the axis."""

import re

import numpy as np
import pytest

from sfg_med.inference.plausible import Limit
from sfg_med.report.organ_charts import BINS, WIDTH, cohort_svg, histogram, histogram_svg


def test_counts_are_those_of_numpy_and_none_is_lost() -> None:
    values = np.random.default_rng(0).normal(40, 20, 5000)
    chart = histogram(values, values + 10)
    assert chart is not None
    assert chart.low <= np.percentile(values, 1)
    assert chart.high >= np.percentile(values + 10, 99)
    expected = np.histogram(values, BINS, (chart.low, chart.high))[0]
    assert chart.counts[1:-1] == tuple(expected[1:-1])
    assert sum(chart.counts) == sum(chart.reference) == 5000
    assert histogram(values[:0]) is None
    assert histogram(np.full(3, 7.0)) is not None


def test_a_name_cannot_leave_its_attribute() -> None:
    chart = histogram(np.arange(100.0))
    assert chart is not None
    assert "<b" not in histogram_svg(chart, "HU", 'x"><b>', "#fff")


@pytest.mark.parametrize("count", [3, 200])
def test_the_case_and_the_limits_are_where_the_axis_says(count: int) -> None:
    volumes = np.linspace(10, 100, count)
    svg = cohort_svg(list(volumes), 55.0, Limit(20, None, "s"), "bladder")
    last = float(re.findall(r'end">([\d.]+) ml', svg)[0])
    own = float(re.findall(r'class="own" d="M([\d.]+)', svg)[0])
    left, width = map(float, re.findall(r'plausible" x="([\d.]+)" y="4" width="([\d.]+)"', svg)[0])
    assert own == pytest.approx(WIDTH * 55 / last, abs=0.1)
    assert left == pytest.approx(WIDTH * 20 / last, abs=0.1)
    assert left + width == pytest.approx(WIDTH, abs=1.1)
    assert f"{np.sum(volumes > 55)} of {count - 1} others larger" in svg
    assert svg.count("<circle") == (3 if count == 3 else 0)
