# SPDX-License-Identifier: Apache-2.0
"""Calibration against simulated errors of known size, and against scikit-learn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from sfg_med.metrics.calibration import BINS, LEVELS, Reliability, ZScores, near_organ

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("confidence", [1.0, 2.0])
def test_gaussian_errors_of_known_size(confidence: float) -> None:
    """With the true deviation z is standard normal; with half of it z has twice the deviation."""
    sigma = RNG.uniform(5, 80, (60, 60, 60))
    reference = RNG.normal(0, sigma)
    found = ZScores.of(np.zeros_like(sigma), reference, sigma / confidence).summary()
    assert found["z_mean"] == pytest.approx(0, abs=0.02)
    assert found["z_sd"] == pytest.approx(confidence, rel=0.01)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(sigma**2)), rel=0.01)
    assert found["rms_std"] == pytest.approx(np.sqrt(np.mean(sigma**2)) / confidence, rel=1e-6)
    expected = (0.5, 0.8, 0.95) if confidence == 1 else (0.2641, 0.4783, 0.6730)
    for level, part in zip((50, 80, 95), expected, strict=True):
        assert found[f"coverage_{level}"] == pytest.approx(part, abs=0.005)


def test_z_scores_against_numpy_inside_a_mask() -> None:
    prediction, reference, std = RNG.normal(size=(3, 9, 8, 7))
    std = np.abs(std)
    std[0, 0, 0] = 0
    mask = RNG.random((9, 8, 7)) > 0.4
    mask[0, 0, 0] = True
    found = ZScores.of(prediction, reference, std, mask, floor=0.05)
    z = ((reference - prediction) / np.maximum(std, 0.05))[mask]
    assert found.count == mask.sum()
    assert found.summary()["z_mean"] == pytest.approx(z.mean())
    assert found.summary()["z_sd"] == pytest.approx(z.std())
    assert sum(found.histogram) == mask.sum(), "also what lies beyond the edges"
    assert found.coverage()[0.95] == pytest.approx(np.mean(np.abs(z) <= 1.959963985))
    assert list(found.coverage()) == list(LEVELS)


def test_cases_add_up_also_through_json() -> None:
    a, b = RNG.normal(size=(2, 3, 500))
    whole = ZScores.of(*np.concatenate((a, b), 1)[:2], np.ones(1000))
    parts = [ZScores.of(*case[:2], np.ones(500)) for case in (a, b)]
    again = ZScores.from_dict(json.loads(json.dumps(parts[0].to_dict()))) + parts[1]
    assert again.summary() == pytest.approx(whole.summary())
    assert (again.covered, again.histogram) == (whole.covered, whole.histogram)

    p, y = RNG.random(1000), RNG.random(1000) > 0.5
    halves = [Reliability.of(p[i::2], y[i::2]) for i in (0, 1)]
    total = Reliability.from_dict(json.loads(json.dumps(halves[0].to_dict()))) + halves[1]
    assert total.ece == pytest.approx(Reliability.of(p, y).ece)
    assert total.counts == Reliability.of(p, y).counts


def test_reliability_against_scikit_learn() -> None:
    p = RNG.beta(0.5, 2, 4000)
    y = RNG.random(4000) < p**1.5
    found = Reliability.of(p, y)
    truth, mean = calibration_curve(y, p, n_bins=BINS)
    np.testing.assert_allclose(found.curve(), (mean, truth))
    assert found.brier == pytest.approx(brier_score_loss(y, p))
    counts, _ = np.histogram(p, BINS, (0, 1))
    assert found.ece == pytest.approx((counts[counts > 0] * np.abs(mean - truth)).sum() / 4000)


def test_known_calibration_errors() -> None:
    assert Reliability.of([0.8] * 10, [1] * 8 + [0] * 2).ece == pytest.approx(0)
    assert Reliability.of([0.9] * 10, [1] * 6 + [0] * 4).ece == pytest.approx(0.3)
    assert Reliability.of([1.0, 0.0], [0, 1]).ece == 1
    assert Reliability.of([1.0, 0.0], [0, 1]).brier == 1
    honest = RNG.random(200_000)
    assert Reliability.of(honest, RNG.random(200_000) < honest).ece < 0.01
    empty = Reliability.of(np.zeros(3), np.zeros(3), np.zeros(3))
    assert math.isnan(empty.ece)
    assert math.isnan(empty.brier)


def test_near_an_organ_is_what_a_distance_map_says() -> None:
    truth = np.zeros((40, 30, 20), bool)
    truth[10:14, 3:9, 8:10] = True
    spacing = (2.0, 3.0, 5.0)
    expected = distance_transform_edt(~truth, sampling=spacing) <= 10
    np.testing.assert_array_equal(near_organ(truth, spacing, 10), expected)
    assert not near_organ(np.zeros_like(truth), spacing).any()
