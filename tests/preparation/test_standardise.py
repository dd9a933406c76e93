# SPDX-License-Identifier: Apache-2.0
"""Nyul's scale, against its formula written out slowly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sfg_med.errors import SfgMedError
from sfg_med.preparation.standardise import (
    PERCENTILES,
    check_landmarks,
    fit_standard,
    landmarks_of,
    read_standard,
    write_standard,
)


def slow_map(value: float, own: list[float], standard: list[float]) -> float:
    """Nyul et al. 2000, equation 1, extended to several pieces; outside, the outer pieces go on."""
    piece = 0
    while piece < len(own) - 2 and value >= own[piece + 1]:
        piece += 1
    share = (value - own[piece]) / (own[piece + 1] - own[piece])
    return standard[piece] + share * (standard[piece + 1] - standard[piece])


@pytest.fixture
def images() -> dict[str, np.ndarray]:
    """The same tissues by three scanners: another gain, another offset, another curve."""
    tissue = np.random.default_rng(1).gamma(3.0, 60.0, (12, 11, 10)).astype(np.float32)
    return {"a": tissue, "b": 3.5 * tissue + 20, "c": 40 * np.sqrt(tissue)}


def test_fit_and_map_are_the_formula(images: dict[str, np.ndarray]) -> None:
    body = np.ones((12, 11, 10), bool)
    body[:3] = False
    own = {case: landmarks_of(image, body) for case, image in images.items()}
    standard = fit_standard(own)
    expected = []
    for number, percent in enumerate(PERCENTILES):
        scaled = []
        for image in images.values():
            inside = np.sort(image[body].astype(float))
            place = percent / 100 * (len(inside) - 1)
            low = inside[int(place)]
            values = low + (place - int(place)) * (inside[min(int(place) + 1, len(inside) - 1)] - low)
            ends = np.percentile(inside, [1, 99])
            scaled.append(1000 * (values - ends[0]) / (ends[1] - ends[0]))
        expected.append(np.mean(scaled))
        assert standard.landmarks[number] == pytest.approx(expected[-1], rel=1e-5, abs=1e-3)
    for case, image in images.items():
        mapped = standard.apply(image, own[case])
        slow = [slow_map(v, list(own[case]), list(standard.landmarks)) for v in image.ravel().tolist()]
        np.testing.assert_allclose(mapped.ravel(), slow, rtol=1e-4, atol=1e-2)
        # every image's landmarks lie on the standard ones afterwards
        np.testing.assert_allclose(landmarks_of(mapped, body), standard.landmarks, rtol=2e-2, atol=2)


def test_order_of_grey_values_is_kept(images: dict[str, np.ndarray]) -> None:
    body = np.ones((12, 11, 10), bool)
    own = {case: landmarks_of(image, body) for case, image in images.items()}
    mapped = fit_standard({"a": own["a"]}).apply(images["c"], own["c"]).ravel()
    assert np.all(np.diff(mapped[np.argsort(images["c"].ravel())]) >= 0)


def test_written_with_provenance_and_read_again(tmp_path: Path, images: dict[str, np.ndarray]) -> None:
    standard = fit_standard({"a": landmarks_of(images["a"], np.ones((12, 11, 10)))})
    write_standard(tmp_path / "s.json", standard, {"fitted_on": "training cases"})
    assert read_standard(tmp_path / "s.json") == standard
    facts = json.loads((tmp_path / "s.json").read_text())
    assert facts["training_cases"] == ["a"]
    assert facts["sha256"] == standard.sha256


@pytest.mark.parametrize("text", ["", "{}", '{"landmarks": [1, 2], "training_cases": []}'])
def test_another_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(SfgMedError, match=r"standardisation\.json of sfg-med"):
        read_standard(tmp_path / "s.json")


def test_equal_percentiles_have_no_scale() -> None:
    with pytest.raises(SfgMedError, match="percentiles 1 and 10 both 7"):
        check_landmarks("x", landmarks_of(np.full((4, 4, 4), 7.0), np.ones((4, 4, 4))))
