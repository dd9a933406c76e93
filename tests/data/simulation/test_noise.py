# SPDX-License-Identifier: Apache-2.0
"""Smooth noise is a unit-variance function of position, whatever the grid."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import BSpline

from sfg_med.data.simulation.noise import Streams, smooth_noise, spline_weights


def test_weights_are_the_cubic_b_spline() -> None:
    positions = np.linspace(1.0, 17.0, 41)
    first, weights = spline_weights(positions, knot_mm=2.5, start_mm=-4.0)
    dense = np.zeros((41, 12))
    np.put_along_axis(dense, first[:, None] + np.arange(4), weights, axis=1)
    for k in range(12):
        basis = BSpline.basis_element(-4.0 + 2.5 * (np.arange(5) + k - 2), extrapolate=False)
        np.testing.assert_allclose(dense[:, k], np.nan_to_num(basis(positions)), atol=1e-6)


def test_noise_has_unit_variance() -> None:
    axes = [np.arange(-135, 135, 3.0)] * 3
    field = smooth_noise(np.random.default_rng(0), axes, 9.0)
    assert abs(float(field.std()) - 1.0) < 0.05
    assert abs(float(field.mean())) < 0.05


def test_noise_is_the_same_function_on_another_grid() -> None:
    fine = [np.arange(-40, 40, 2.0), np.arange(-30, 30, 2.0), np.arange(-20, 20, 2.0)]
    coarse = [axis[1::3] for axis in fine]
    for knot in (7.0, (5.0, 5.0, 24.0)):
        a = smooth_noise(Streams((3,))("x"), fine, knot)
        b = smooth_noise(Streams((3,))("x"), coarse, knot)
        np.testing.assert_allclose(a[1::3, 1::3, 1::3], b, atol=1e-5)


def test_streams_depend_on_name_and_seed_only() -> None:
    draw = Streams((1, 2))("a").normal(size=4)
    np.testing.assert_array_equal(draw, Streams((1, 2))("a").normal(size=4))
    assert not np.array_equal(draw, Streams((1, 2))("b").normal(size=4))
    assert not np.array_equal(draw, Streams((1, 3))("a").normal(size=4))
