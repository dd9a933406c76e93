# SPDX-License-Identifier: Apache-2.0
"""Gamma index against closed forms and a search written out slowly."""

import itertools
import math

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import gaussian_filter

from sfg_med.errors import SfgMedError
from sfg_med.metrics.gamma import Criterion, gamma_index

pytest.importorskip("pymedphys")


def _axes(shape, spacing=(2.0, 2.0, 2.0)):
    return [s * np.arange(n, dtype=float) for s, n in zip(spacing, shape, strict=True)]


def test_equal_doses_and_a_dose_that_is_too_high_everywhere():
    dose = np.full((5, 6, 7), 50.0)
    axes = _axes(dose.shape)
    equal = gamma_index(dose, dose, axes, axes, Criterion(2, 2))
    assert (equal.points, equal.pass_percent, equal.mean) == (210, 100, 0)
    high = gamma_index(dose * 1.03, dose, axes, axes, Criterion(2, 2))  # 3 % off where 2 % is allowed: 1.5
    assert (high.pass_percent, high.mean) == (0, pytest.approx(1.5, rel=1e-6))
    assert gamma_index(dose * 1.03, dose, axes, axes, Criterion(3.1, 2)).pass_percent == 100


def test_a_ramp_that_is_shifted_has_a_closed_form():
    """For a gradient g and a shift s the least of (x / a)^2 + (g (x - s) / b)^2 is (g s)^2 / (b^2 + a^2 g^2)."""
    x = 1.0 * np.arange(80)
    ramp = np.broadcast_to((10 + 0.5 * x)[:, None, None], (80, 3, 3)).copy()
    axes = _axes(ramp.shape, (1.0, 1.0, 1.0))
    shifted = [axes[0] + 1.5, axes[1], axes[2]]
    found = gamma_index(ramp, ramp, shifted, axes, Criterion(2, 2))
    tolerance = 0.02 * ramp.max()
    expected = 0.5 * 1.5 / math.sqrt(tolerance**2 + 2**2 * 0.5**2)
    assert found.mean == pytest.approx(expected, abs=0.03)  # the search goes in tenths of the distance, ends included


def _slow_gamma(evaluated, reference, axes_evaluated, axes_reference, criterion, cutoff):
    """Every point of the reference against a fine grid of the evaluated dose around it."""
    dose = RegularGridInterpolator(axes_evaluated, evaluated, bounds_error=False, fill_value=np.inf)
    steps = np.arange(-2 * criterion.mm, 2 * criterion.mm + 1e-9, criterion.mm / 8)
    offsets = np.array(list(itertools.product(steps, repeat=3)))
    far = np.linalg.norm(offsets, axis=1) / criterion.mm
    values = []
    for index in np.ndindex(reference.shape):
        if reference[index] >= cutoff * reference.max():
            point = [axis[i] for axis, i in zip(axes_reference, index, strict=True)]
            error = (dose(point + offsets) - reference[index]) / (criterion.percent / 100 * reference.max())
            values.append(min(2.0, np.sqrt(far**2 + error**2).min()))
    return np.array(values)


def test_a_blob_on_two_grids_against_a_slow_search():
    generator = np.random.default_rng(0)
    reference = gaussian_filter(np.pad(np.full((3, 3, 3), 60.0), 4), 1.2)
    axes = _axes(reference.shape, (3.0, 2.5, 3.0))
    fine = [np.linspace(axis[0] - 1, axis[-1] + 1, 15) for axis in axes]
    there = np.stack(np.meshgrid(*fine, indexing="ij"), -1) - [0.8, 0.0, 0.4]
    evaluated = RegularGridInterpolator(axes, reference, bounds_error=False, fill_value=None)(there)
    evaluated *= 1 + gaussian_filter(generator.normal(0, 2.0, evaluated.shape), 2)
    criterion = Criterion(2, 2)
    expected = _slow_gamma(evaluated, reference, fine, axes, criterion, 0.1)
    found = gamma_index(evaluated, reference, fine, axes, criterion)
    assert found.points == len(expected) > 100
    assert found.mean == pytest.approx(expected.mean(), abs=0.03)
    assert found.pass_percent == pytest.approx(100 * (expected <= 1).mean(), abs=4)
    assert 10 < found.pass_percent < 99


@pytest.mark.parametrize("text", ["2/2", "2%", "0%/2mm", "2mm/2%", ""])
def test_other_criteria_are_refused(text):
    with pytest.raises(SfgMedError, match="criterion"):
        Criterion.parse(text)
    assert str(Criterion.parse(" 2.5 % / 3 mm")) == "2.5%/3mm"


def test_no_dose_no_result():
    nothing = np.zeros((4, 4, 4))
    found = gamma_index(nothing, nothing, _axes((4, 4, 4)), _axes((4, 4, 4)), Criterion(2, 2))
    assert found.points == 0
    assert math.isnan(found.pass_percent)
