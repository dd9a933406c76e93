# SPDX-License-Identifier: Apache-2.0
"""Figures of a registration, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from sklearn.metrics import mutual_info_score

from sfg_med.preparation.registration.quality import deformation, mutual_information, overlap


def test_mutual_information_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(9, 8, 7))
    second = first**2 + 0.3 * rng.normal(size=first.shape)
    inside = rng.random(first.shape) < 0.7
    labels = [np.digitize(v, np.histogram_bin_edges(v, 32)[1:-1]) for v in (first[inside], second[inside])]
    assert mutual_information(first, second, inside) == pytest.approx(mutual_info_score(*labels), rel=1e-9)


def test_overlap_is_dice() -> None:
    first, second = np.zeros(10, bool), np.zeros(10, bool)
    first[:6], second[4:8] = True, True
    assert overlap(first, second) == pytest.approx(2 * 2 / 10)


def test_jacobian_and_displacement_of_an_affine_map() -> None:
    grid = sitk.Image(12, 10, 8, sitk.sitkUInt8)
    grid.SetSpacing((2.0, 3.0, 4.0))
    stretch = sitk.AffineTransform(3)
    stretch.SetMatrix((1.1, 0, 0, 0, 0.9, 0, 0, 0, 1.2))
    inside = np.zeros((12, 10, 8), bool)
    inside[2:-2, 2:-2, 2:-2] = True
    found = deformation(stretch, grid, inside)
    assert found["jacobian_min"] == pytest.approx(1.1 * 0.9 * 1.2, abs=1e-3)
    assert found["folded_percent"] == 0
    index = np.argwhere(inside) * grid.GetSpacing()
    length = np.linalg.norm(index * (0.1, -0.1, 0.2), axis=1)
    assert found["displacement_mm_p50"] == pytest.approx(np.median(length), abs=1e-3)
    assert found["displacement_mm_max"] == pytest.approx(length.max(), abs=1e-3)


def test_a_mirror_is_folded_everywhere() -> None:
    grid = sitk.Image(8, 8, 8, sitk.sitkUInt8)
    mirror = sitk.AffineTransform(3)
    mirror.SetMatrix((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    found = deformation(mirror, grid, np.ones((8, 8, 8), bool))
    assert found["folded_percent"] == 100
    assert found["jacobian_min"] == pytest.approx(-1, abs=1e-3)
