# SPDX-License-Identifier: Apache-2.0
"""Dice and HD95 against set arithmetic and all pairwise distances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from sfg_med.metrics import organ_dice, organ_hd95_mm, score_organs


def _blob(centre, radius, shape=(24, 22, 20)):
    grid = np.indices(shape).transpose(1, 2, 3, 0)
    return (((grid - np.array(centre)) / np.array(radius)) ** 2).sum(-1) <= 1


def _slow_hd95(prediction, reference, spacing):
    surfaces = [np.argwhere(m & ~binary_erosion(m)) * np.array(spacing) for m in (prediction, reference)]
    distances = cdist(*surfaces)
    return max(np.percentile(distances.min(axis=axis), 95) for axis in (0, 1))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.1, 3.5), (3.0, 2.0, 0.5)])
@pytest.mark.parametrize("shift", [0, 1, 4])
def test_against_slow_definitions(spacing, shift):
    reference = _blob((11, 10, 9), (6, 5, 4))
    prediction = _blob((11 + shift, 10, 9 - shift), (6, 4, 5))
    overlap = 2 * (prediction & reference).sum() / (prediction.sum() + reference.sum())
    assert organ_dice(prediction, reference) == pytest.approx(overlap, rel=1e-6)
    found = organ_hd95_mm(prediction, reference, spacing)
    assert found == pytest.approx(_slow_hd95(prediction, reference, spacing), rel=1e-5)


def test_organ_cut_by_the_edge_of_the_image():
    reference, prediction = _blob((0, 10, 19), (6, 5, 4)), _blob((1, 11, 19), (6, 5, 4))
    found = organ_hd95_mm(prediction, reference, (1, 2, 3))
    assert found == pytest.approx(_slow_hd95(prediction, reference, (1, 2, 3)), rel=1e-5)


def test_spacing_is_in_the_order_of_the_axes():
    reference = np.zeros((10, 10, 10), bool)
    reference[4, 4, 4] = True
    for axis, size in enumerate((1.0, 2.5, 4.0)):
        prediction = np.roll(reference, 2, axis)
        assert organ_hd95_mm(prediction, reference, (1.0, 2.5, 4.0)) == pytest.approx(2 * size)


def test_absent_organs():
    organ, nothing = _blob((11, 10, 9), (3, 3, 3)), np.zeros((24, 22, 20), bool)
    assert math.isnan(organ_dice(organ, nothing))
    assert math.isnan(organ_dice(nothing, nothing))
    assert organ_dice(nothing, organ) == 0
    for pair in ((organ, nothing), (nothing, organ), (nothing, nothing)):
        assert math.isnan(organ_hd95_mm(*pair, (1, 1, 1)))


def test_label_maps_by_name():
    reference = np.where(_blob((6, 6, 6), (3, 3, 3)), 7, 0) + np.where(_blob((17, 15, 12), (3, 3, 3)), 2, 0)
    prediction = np.where(reference == 7, 7, 0)
    scores = score_organs(prediction, reference, {"kidney": 7, "spleen": 2, "liver": 1}, (1, 1, 1))
    assert scores["kidney"] == (1.0, 0.0)
    assert scores["spleen"][0] == 0
    assert math.isnan(scores["spleen"][1])
    assert all(math.isnan(value) for value in scores["liver"])


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        organ_dice(np.ones((2, 3, 4)), np.ones((2, 3, 5)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.tuples(*[st.floats(0.3, 5.0)] * 3))
def test_properties(seed, spacing):
    generator = np.random.default_rng(seed)
    first, second = generator.random((2, 8, 7, 6)) < 0.2
    if not (first.any() and second.any()):
        return
    assert organ_dice(first, second) == pytest.approx(organ_dice(second, first))
    distance = organ_hd95_mm(first, second, spacing)
    assert distance == pytest.approx(organ_hd95_mm(second, first, spacing))
    doubled = organ_hd95_mm(first, second, [2 * s for s in spacing])
    assert doubled == pytest.approx(2 * distance, rel=1e-5)
    assert organ_hd95_mm(first, first, spacing) == 0
    assert distance == pytest.approx(_slow_hd95(first, second, spacing), rel=1e-4)
