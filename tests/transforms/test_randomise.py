# SPDX-License-Identifier: Apache-2.0
"""Domain randomisation against NumPy and SciPy, transform by transform, and the config that puts them together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import block_reduce

from sfg_med.data.simulation.tissues import TISSUE_NAMES
from sfg_med.spec import ModelSpec
from sfg_med.training.runner import config_dir, training_workflow
from sfg_med.transforms.randomise import (
    RandCoilShadingd,
    RandFieldOfViewd,
    RandGhostingd,
    RandMotiond,
    RandResolutiond,
    RandTissueContrastd,
    ToMagnituded,
)
from sfg_med.transforms.randomise.contrast import SIGNALLESS, tissue_means

SHAPE = (16, 12, 10)


def _image(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.1, 1.0, SHAPE).astype(np.float32))[None]


def test_a_normalised_image_becomes_a_magnitude_image() -> None:
    image = ToMagnituded("mr")({"mr": 3.0 * _image() - 5.0})["mr"]
    assert float(image.min()) == 0.0
    assert np.percentile(image, 99, method="inverted_cdf") == pytest.approx(1.0)


def _tissues() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, len(TISSUE_NAMES), SHAPE).astype(np.uint8))[None]


def test_tissue_means_are_those_of_numpy() -> None:
    image, tissue = _image()[0], _tissues()[0].long()
    means = tissue_means(image, tissue).numpy()
    for number in range(len(TISSUE_NAMES)):
        inside = image.numpy()[tissue.numpy() == number]
        assert means[number] == pytest.approx(inside.mean() if inside.size else 0.0, rel=1e-5)


def test_fully_random_contrast_gives_each_tissue_its_brightness_and_leaves_what_has_no_signal_dark() -> None:
    transform = RandTissueContrastd("mr", prob=1.0, blend=(1.0, 1.0), texture=0.0).set_random_state(5)
    data = {"mr": _image(), "tissue": _tissues()}
    painted = transform(data)["mr"]
    transform.set_random_state(5).randomize(None)
    levels, deviations = transform.draw_tissues()
    assert not deviations.any()
    means = tissue_means(painted[0], data["tissue"][0].long())
    present = np.unique(data["tissue"])
    # the residual has mean zero in every tissue, up to what is cut off below zero
    np.testing.assert_allclose(means.numpy()[present], levels.numpy()[present], atol=0.02)
    for name in SIGNALLESS:
        assert levels[TISSUE_NAMES.index(name)] <= 0.06
    assert levels.std() > 0.1


def test_tissues_differ_in_texture_and_sometimes_share_a_brightness() -> None:
    transform = RandTissueContrastd("mr", flatten=0.5).set_random_state(0)
    levels, deviations = transform.draw_tissues()
    assert len(np.unique(levels)) < len(levels)
    assert float(deviations.max()) > 0.05
    noise = transform.draw_texture(torch.Size(SHAPE))
    assert float(noise.std()) == pytest.approx(1.0, abs=1e-3)


def test_a_case_without_a_map_of_tissues_keeps_its_contrast() -> None:
    data = {"mr": _image()}
    assert torch.equal(RandTissueContrastd("mr", prob=1.0)(data)["mr"], data["mr"])


def test_thick_slices_are_block_means_interpolated_back() -> None:
    image = _image()
    transform = RandResolutiond("mr", spacing_mm=(3, 3, 3))
    thick = transform.change(image, factors=[1.0, 1.0, 2.0])[0].numpy()
    means = block_reduce(image[0].numpy(), (1, 1, 2), np.mean)
    positions = (np.arange(SHAPE[2]) + 0.5) / 2 - 0.5
    for x, y in np.ndindex(SHAPE[0], SHAPE[1]):
        expected = np.interp(positions, np.arange(SHAPE[2] // 2), means[x, y])
        np.testing.assert_allclose(thick[x, y], expected, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_voxels_never_shrink_and_slices_are_at_most_as_thick_as_asked(seed: int) -> None:
    transform = RandResolutiond("mr", spacing_mm=(1.5, 1.5, 3.0), thickest_mm=5.0).set_random_state(seed)
    factors = transform.draw()["factors"]
    assert min(factors) >= 1.0
    assert len(set(factors)) == 1 or factors[2] * 3.0 <= 5.0
    assert len(set(factors)) == 1 or max(f * 1.5 for f in factors[:2]) <= 5.0


def test_shading_is_the_formula() -> None:
    image = _image()
    transform = RandCoilShadingd("mr", spacing_mm=(2.0, 3.0, 4.0))
    shaded = transform.change(image, centre=[0.5, 0.0, 1.0], gain=2.0, reach=30.0)[0].numpy()
    for x, y, z in ((0, 0, 0), (7, 5, 3), (15, 11, 9)):
        d = np.linalg.norm([(x - 7.5) * 2.0, y * 3.0, (z - 9) * 4.0])
        assert shaded[x, y, z] == pytest.approx(float(image[0, x, y, z]) * (1 + 2.0 / (1 + (d / 30.0) ** 2)), rel=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_ghosts_are_a_modulation_of_the_lines_of_k_space(axis: int) -> None:
    image = _image()
    ghosted = RandGhostingd("mr").change(image, axis=axis, count=4, strength=0.1)[0].numpy()
    n = SHAPE[axis]
    lines = np.fft.fft(image[0].numpy(), axis=axis)
    modulation = 1 + 0.2 * np.cos(2 * np.pi * np.arange(n) * (n // 4) / n)
    shape = [-1 if a == axis else 1 for a in range(3)]
    expected = np.fft.ifft(lines * modulation.reshape(shape), axis=axis).real
    np.testing.assert_allclose(ghosted, expected, atol=1e-5)


def test_motion_mixes_lines_of_two_positions() -> None:
    image = _image()
    transform = RandMotiond("mr")
    np.testing.assert_allclose(transform.change(image, axis=0, shift=0.0, start=0.1), image, atol=1e-5)
    moved = transform.change(image, axis=0, shift=2.0, start=0.25)[0].numpy()
    still, shifted = (np.fft.fft(a, axis=0) for a in (image[0].numpy(), np.roll(image[0].numpy(), 2, 0)))
    late = np.fft.fftfreq(SHAPE[0]) > 0.125
    expected = np.abs(np.fft.ifft(np.where(late[:, None, None], shifted, still), axis=0))
    np.testing.assert_allclose(moved, expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), shape=st.tuples(*[st.integers(2, 90)] * 3))
def test_a_small_field_lies_within_the_image_and_has_a_size_that_scanners_have(seed: int, shape: Any) -> None:
    transform = RandFieldOfViewd(["mr", "seg"], ModelSpec(), prob=1.0).set_random_state(seed)
    box = transform.draw_box(shape, [n / 2 for n in shape])
    limits = zip(shape, box, transform.smallest_mm, transform.largest_mm, strict=True)
    for n, part, small, large in limits:
        size = part.stop - part.start
        assert 0 <= part.start < part.stop <= n
        assert min(n, round(small / 3)) <= size <= min(n, round(large / 3))


def test_a_small_field_is_centred_near_the_prostate_and_crops_all_images_alike() -> None:
    seg = torch.zeros(1, 90, 80, 60, dtype=torch.uint8)
    seg[0, 50:56, 30:36, 20:26] = 1
    places = torch.arange(seg.numel(), dtype=torch.float64).reshape(seg.shape)
    transform = RandFieldOfViewd(["mr", "seg"], ModelSpec(), prob=1.0, largest_mm=(120, 120, 60)).set_random_state(0)
    seen = []
    for _ in range(30):
        result = transform({"mr": places, "seg": seg})
        first, last = (
            np.array(np.unravel_index(int(v), seg.shape[1:])) for v in (result["mr"].min(), result["mr"].max())
        )
        assert tuple(last - first + 1) == tuple(result["seg"].shape[1:])
        assert int((result["seg"] == 1).sum()) == int(
            (seg[0, first[0] : last[0] + 1, first[1] : last[1] + 1, first[2] : last[2] + 1] == 1).sum()
        )
        seen.append((first + last) / 2)
    np.testing.assert_allclose(np.mean(seen, axis=0), (52.5, 32.5, 22.5), atol=3.0)


def _samples(dataset: Path, tmp_path: Path, tiny: dict[str, Any]) -> Any:
    overrides = {**tiny, "dataset_dir": str(dataset), "run_dir": str(tmp_path / "run"), "steps": 12}
    workflow = training_workflow([config_dir() / "train.yaml", config_dir() / "randomised.yaml"], overrides)
    workflow.initialize()
    return workflow.parser.get_parsed_content("train#dataset")


def test_the_config_draws_finite_patches_that_depend_on_their_number_only(
    tiny_dataset: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    samples = _samples(tiny_dataset, tmp_path, tiny)
    first = [samples[i] for i in range(12)]
    for sample in first:
        assert sample["mr"].shape == (1, *tiny["patch_size"])
        assert torch.isfinite(sample["mr"]).all()
        assert "tissue" not in sample
    again = samples[7]
    assert torch.equal(first[7]["mr"], again["mr"])
    assert torch.equal(first[7]["seg"], again["seg"])
    assert not torch.equal(first[7]["mr"], first[8]["mr"])
