# SPDX-License-Identifier: Apache-2.0
"""Turned patches against SciPy, straight ones against slices, and where their centres lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from sfg_med.spec import ModelSpec
from sfg_med.transforms import RandAffinePatchd

SPEC = ModelSpec(patch_size=(12, 10, 8))
KEYS, MODES = ["mr", "ct", "seg", "tissue"], ["bilinear", "bilinear", "nearest", "nearest"]


def _case(shape: tuple[int, ...] = (20, 18, 16), seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    seg = np.zeros(shape, np.uint8)
    seg[4:7, 9:12, 5:9], seg[15:18, 3:5, 11:14] = 1, 4
    return {
        "mr": torch.from_numpy(rng.normal(size=shape).astype(np.float32))[None],
        "ct": torch.from_numpy(rng.normal(size=shape).astype(np.float32))[None],
        "seg": torch.from_numpy(seg)[None],
        "tissue": torch.from_numpy(rng.integers(0, 26, shape).astype(np.uint8))[None],
    }


def _fixed(monkeypatch: pytest.MonkeyPatch, transform: RandAffinePatchd, centre: list[float], matrix: Any) -> None:
    monkeypatch.setattr(transform, "draw_centre", lambda data, shape: centre)
    monkeypatch.setattr(transform, "draw_affine", lambda: matrix)


@pytest.mark.parametrize("angle", [0.0, 0.3, -1.1])
def test_a_turned_patch_is_what_scipy_samples(angle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    case, transform = _case(), RandAffinePatchd(KEYS, MODES, SPEC, prob=1.0)
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, -s, 0.1, 0], [s, c, 0, 0], [0.05, 0, 0.9, 0], [0, 0, 0, 1.0]])
    _fixed(monkeypatch, transform, [9.3, 8.1, 6.6], matrix)
    patch = transform(case)
    middle = (np.array(SPEC.patch_size) - 1) / 2
    offset = np.array([9.3, 8.1, 6.6]) - matrix[:3, :3] @ middle
    for key in ("mr", "ct"):
        array = case[key][0].double().numpy()
        expected = affine_transform(array, matrix[:3, :3], offset, SPEC.patch_size, order=1, mode="nearest")
        np.testing.assert_allclose(patch[key][0].numpy(), expected, atol=2e-5)
    expected = affine_transform(
        case["seg"][0].numpy(), matrix[:3, :3], offset, SPEC.patch_size, order=0, mode="nearest"
    )
    assert (patch["seg"][0].numpy() == expected).mean() > 0.995  # exact halves may be rounded either way
    assert patch["seg"].dtype == torch.uint8


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(*[st.integers(3, 30)] * 3), seed=st.integers(0, 10_000))
def test_a_straight_patch_is_a_slice_of_the_case_with_its_border_repeated(shape: Any, seed: int) -> None:
    case = _case((20, 18, 16), seed)
    case = {k: v[:, : shape[0], : shape[1], : shape[2]] for k, v in case.items()}
    transform = RandAffinePatchd(KEYS, MODES, SPEC, centre="anywhere", prob=0.0).set_random_state(seed)
    patch = transform(case)
    transform.set_random_state(seed)
    centre = transform.draw_centre(case, case["mr"].shape[1:])
    start = [round(c - (p - 1) / 2) for c, p in zip(centre, SPEC.patch_size, strict=True)]
    for key in KEYS:
        array = case[key][0].numpy()
        index = [
            np.clip(np.arange(s, s + p), 0, n - 1) for s, p, n in zip(start, SPEC.patch_size, array.shape, strict=True)
        ]
        np.testing.assert_allclose(patch[key][0].numpy(), array[np.ix_(*index)], atol=1e-4)
        if all(n >= p for n, p in zip(array.shape, SPEC.patch_size, strict=True)):
            assert all(0 <= s <= n - p for s, p, n in zip(start, SPEC.patch_size, array.shape, strict=True))


def test_half_of_the_centres_are_near_labels_and_every_label_that_is_there_is_chosen_as_often() -> None:
    shape = (60, 60, 60)
    seg = torch.zeros((1, *shape), dtype=torch.uint8)
    seg[0, 20:22, 20:22, 20:22], seg[0, 38:46, 38:46, 38:46] = 1, 4
    transform = RandAffinePatchd(["seg"], ["nearest"], SPEC, jitter=(0, 0, 0)).set_random_state(0)
    centres = np.array([transform.draw_centre({"seg": seg}, shape) for _ in range(2000)])
    small = (np.abs(centres - 21) < 2.1).all(1).mean()
    large = (np.abs(centres - 42) < 5.1).all(1).mean()
    assert small == pytest.approx(0.25, abs=0.03)
    assert large == pytest.approx(0.25, abs=0.04)


def test_images_that_a_case_lacks_are_passed_over_and_the_state_decides() -> None:
    case = _case()
    del case["tissue"]
    transform = RandAffinePatchd(KEYS, MODES, SPEC)
    first = transform.set_random_state(3)(case)
    again = transform.set_random_state(3)(case)
    assert "tissue" not in first
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["mr"], transform.set_random_state(4)(case)["mr"])


@pytest.mark.parametrize("centre", ["organs", "labels"])
def test_a_wrong_centre_is_refused(centre: str) -> None:
    spec = ModelSpec(tasks=(SPEC.tasks[0],)) if centre == "labels" else SPEC
    with pytest.raises(ValueError, match="centre must be one of"):
        RandAffinePatchd(KEYS, MODES, spec, centre=centre)
