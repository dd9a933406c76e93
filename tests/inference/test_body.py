# SPDX-License-Identifier: Apache-2.0
"""The box that the network looks at holds the patient; around it there is air."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfg_med.data.volumes import read_volume
from sfg_med.inference.body import Box, body_box
from sfg_med.inference.predictor import Predictor, _as_tensor
from sfg_med.spec import ModelSpec
from sfg_med.transforms import network_input

SPACING = (3.0, 3.0, 4.0)


def _holds(box: Box, body: np.ndarray) -> bool:
    outside = body.copy()
    outside[box] = False
    return not outside.any()


@given(
    st.tuples(*[st.floats(0.3, 0.7)] * 3), st.tuples(*[st.floats(0.1, 0.35)] * 3), st.integers(0, 999), st.booleans()
)
def test_a_body_is_found_wherever_it_lies(centre, radius, seed, couch) -> None:
    shape = np.array([60, 50, 40])
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) / shape
    body = (((grid - centre) / radius) ** 2).sum(-1) <= 1
    numbers = np.random.default_rng(seed)
    image = numbers.rayleigh(12.0, shape) + body * numbers.normal(300.0, 60.0, shape)
    if couch:  # a thin bright line outside the patient may be in the box or not
        image[:, 1, :] += 80
    box = body_box(torch.from_numpy(image)[None].float(), SPACING, (16, 16, 16))
    assert _holds(box, body)
    assert all(s.stop - s.start >= 16 for s in box)


def test_a_small_body_makes_a_small_box_and_nothing_makes_all() -> None:
    image = torch.zeros(1, 100, 90, 80)
    image[:, 40:60, 30:50, 20:40] = 1.0
    x, y, z = body_box(image, (3.0, 3.0, 3.0), (16, 16, 16))
    for found, (start, stop) in zip((x, y, z), ((40, 60), (30, 50), (20, 40)), strict=True):
        assert start - 12 <= found.start <= start
        assert stop <= found.stop <= stop + 12
    assert body_box(torch.zeros(1, 9, 8, 7), (3.0, 3.0, 3.0), (4, 4, 4)) == (slice(0, 9), slice(0, 8), slice(0, 7))


def test_the_box_is_a_window_at_least_where_the_image_is() -> None:
    image = torch.zeros(1, 100, 20, 80)
    image[:, 88:, 2:18, :14] = 1.0  # in a corner
    x, y, z = body_box(image, (3.0, 3.0, 3.0), (64, 64, 48))
    assert (x, y, z) == (slice(36, 100), slice(0, 20), slice(0, 48))


@pytest.mark.parametrize("number", range(0, 26, 5))
def test_real_anatomies_are_inside(shared_data: Path, number: int) -> None:
    folders = sorted((shared_data / "pelvis_pairs").glob("*/mr.nii.gz"))
    volume = read_volume(folders[number])
    spec = ModelSpec()
    image = network_input(_as_tensor(volume), spec)
    mask = nib.load(folders[number].with_name("mask.nii.gz"))
    coarse = network_input(_as_tensor(read_volume(folders[number].with_name("mask.nii.gz"))), spec)
    inside = coarse.as_tensor()[0].numpy()
    body = inside > (inside.min() + inside.max()) / 2
    assert body.mean() > 0.5 * np.asarray(mask.dataobj).mean()
    assert _holds(body_box(image.as_tensor(), spec.spacing_mm, (32, 32, 32)), body)


def test_outside_there_is_air(standin, save_nifti, tmp_path) -> None:
    image = np.zeros((60, 50, 40))
    image[22:38, 18:32, 12:28] = 500.0
    volume = read_volume(save_nifti(tmp_path / "x.nii", image, np.diag([3.0, 3.0, 3.0, 1])))
    model = standin(spacing_mm=(3.0, 3.0, 3.0), patch_size=(16, 16, 16))
    limited, whole = (
        Predictor(model, device="cpu", precision="fp32", whole_image=w).predict(volume) for w in (False, True)
    )
    assert (limited.images["ct"][:10] == -1000).all()
    assert (limited.labels["seg"][:10] == 0).all()
    body = image > 0
    np.testing.assert_allclose(limited.images["ct"][body], whole.images["ct"][body], atol=1.0)
    np.testing.assert_array_equal(limited.labels["seg"][body], whole.labels["seg"][body])
