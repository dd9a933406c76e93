# SPDX-License-Identifier: Apache-2.0
"""Noise and blur of the two scanners."""

from __future__ import annotations

import numpy as np
import pytest

from sfg_med.data.simulation.noise import Streams
from sfg_med.data.simulation.scan import Protocol, acquire_ct, acquire_mr, draw_protocol

PROTOCOL = Protocol(te_ms=95, tr_ms=3500, mr_noise=0.05, mr_gain=2000, bias=0.1, ct_noise_hu=10, ct_psf_mm=4.0)
AXES = [np.arange(-60, 60, 3.0)] * 3


def test_background_is_rayleigh() -> None:
    image = acquire_mr(np.zeros((40, 40, 40), np.float32), AXES, Streams((0,)), PROTOCOL).astype(float)
    assert image.mean() / image.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.02)  # 1.913
    assert image.mean() == pytest.approx(0.05 * 2000 * np.sqrt(np.pi / 2), rel=0.02)


def test_fat_has_the_gain_as_its_brightness_up_to_the_bias_field() -> None:
    image = acquire_mr(np.ones((40, 40, 40), np.float32), AXES, Streams((0,)), PROTOCOL)
    assert image.dtype == np.int16
    assert 0.65 < np.median(image) / 2000 < 1.5
    field = image.reshape(10, 4, 10, 4, 10, 4).mean(axis=(1, 3, 5))
    steps = np.abs(np.diff(np.log(field), axis=0))
    assert steps.max() < 0.12  # smooth: 12 mm change it by a few per cent, and noise by less


def test_ct_blurs_by_its_point_spread_function_and_is_limited() -> None:
    hu = np.full((41, 41, 41), -1000.0, np.float32)
    hu[20:] = 5000.0
    image = acquire_ct(hu, (1.0, 1.0, 1.0), Streams((0,)), PROTOCOL)
    assert image.min() >= -1024
    assert image.max() == 3000
    noiseless = Protocol(**{**PROTOCOL.__dict__, "ct_noise_hu": 0.0})
    hu[20:] = 1000.0
    edge = acquire_ct(hu, (1.0, 1.0, 1.0), Streams((0,)), noiseless)[:, 20, 20].astype(float)
    slope = np.diff(edge)  # the line spread function: a Gaussian of 4 mm full width
    x = np.arange(40)
    centre = (slope * x).sum() / slope.sum()
    sigma = np.sqrt((slope * (x - centre) ** 2).sum() / slope.sum())
    assert 2.355 * sigma == pytest.approx(4.0, rel=0.05)


def test_ct_noise_has_its_standard_deviation_in_soft_tissue() -> None:
    image = acquire_ct(np.full((40, 40, 40), 50.0, np.float32), (3, 3, 3), Streams((1,)), PROTOCOL)
    assert image.std() == pytest.approx(10, rel=0.05)
    assert image.mean() == pytest.approx(50, abs=0.5)


def test_protocols_stay_in_their_ranges() -> None:
    for seed in range(50):
        protocol = draw_protocol(Streams((seed,)))
        assert 70 <= protocol.te_ms <= 140
        assert 2000 <= protocol.tr_ms <= 8000
        assert 0.05 <= protocol.bias <= 0.25
        assert 0.005 <= protocol.mr_noise <= 0.05
