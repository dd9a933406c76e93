# SPDX-License-Identifier: Apache-2.0
"""Whole pictures: one pass against the network itself, several against a loop over the same draws."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfg_med.errors import SfgMedError
from sfg_med.inference.pictures import score_pictures
from sfg_med.inference.posterior import drawn_groups
from sfg_med.inference.predictor import Predictor
from sfg_med.model_file import load_model, save_model
from sfg_med.networks import SFGVGG
from sfg_med.spec import ModelSpec, make_spec
from sfg_med.transforms.whole_image import whiten

TASKS = [
    {"kind": "value", "name": "age", "lowest": 0},
    {"kind": "class", "name": "gender", "classes": ["male", "female"]},
]


@pytest.fixture
def spec() -> ModelSpec:
    return make_spec(TASKS, spacing_mm=[1, 1], patch_size=[32, 32], input_name="face")


@pytest.fixture
def network() -> SFGVGG:
    net = SFGVGG(channels=(8,) * 8, group_init="uniform")
    for parameter in net.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


@pytest.fixture
def batches() -> list[list[dict[str, Any]]]:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (7, 32, 32, 3)).astype(np.uint8)
    items = [{"case": f"c{i}", "face": p, "age": 10 * i, "gender": i % 2} for i, p in enumerate(pixels)]
    items[5] |= {"age": None}
    del items[6]["gender"]
    return [items[:4], items[4:]]


def test_one_pass_is_the_network(spec: ModelSpec, network: SFGVGG, batches: list[list[dict[str, Any]]]) -> None:
    rows = score_pictures(network, spec, batches)
    assert list(rows) == [f"c{i}" for i in range(7)]
    output = torch.cat([network(torch.stack([whiten(item["face"]) for item in batch])) for batch in batches]).detach()
    ages = (100 * output[:, 0]).clamp_min(0).tolist()
    female = output[:, 1:].softmax(1)[:, 1].tolist()
    for i, row in enumerate(rows.values()):
        assert row["age"] == pytest.approx(ages[i], rel=1e-4)
        assert row["probability_female"] == pytest.approx(female[i], rel=1e-4)
        if i != 5:
            assert row["mae_age"] == pytest.approx(abs(ages[i] - 10 * i), rel=1e-4)
        if i != 6:
            assert row["accuracy_gender"] == float((female[i] > 0.5) == i % 2)
    assert all(np.isnan(rows["c5"][name]) for name in ("true_age", "mae_age"))
    assert all(np.isnan(rows["c6"][name]) for name in ("true_gender", "accuracy_gender"))


def test_several_passes_are_mean_and_mode_of_the_same_draws(
    spec: ModelSpec, network: SFGVGG, batches: list[list[dict[str, Any]]]
) -> None:
    rows = score_pictures(network, spec, batches, samples=9, seed=3)
    generator = torch.Generator().manual_seed(3)
    images = [torch.stack([whiten(item["face"]) for item in batch]) for batch in batches]
    passes = []
    for _ in range(9):
        with torch.no_grad(), drawn_groups(network, generator):
            passes.append(torch.cat([network(batch) for batch in images]))
    outputs = torch.stack(passes).double().numpy()
    ages = np.maximum(100 * outputs[..., 0], 0)
    votes = outputs[..., 1:].argmax(2)
    assert ages.std(0).mean() > 1, "the draws differ"
    assert 0 < votes.mean() < 1
    for i, row in enumerate(rows.values()):
        assert row["age"] == pytest.approx(ages[:, i].mean(), rel=1e-4)
        assert row["std_age"] == pytest.approx(ages[:, i].std(ddof=1), rel=1e-3, abs=1e-6)
        assert row["gender"] == float(votes[:, i].mean() > 0.5)
        if i < 5:
            assert row["mae_age_1pass"] == pytest.approx(np.abs(ages[:, i] - 10 * i).mean(), rel=1e-4)
            assert row["accuracy_gender_1pass"] == pytest.approx((votes[:, i] == i % 2).mean())
    again = score_pictures(network, spec, batches, samples=9, seed=3)
    np.testing.assert_equal(again, rows)
    assert score_pictures(network, spec, batches, samples=9, seed=4)["c0"]["age"] != rows["c0"]["age"]


def test_a_model_of_pictures_is_no_model_for_volumes(tmp_path: Path) -> None:
    options = {"name": "SFGVGG", "channels": [4] * 8}
    spec = make_spec(TASKS, spacing_mm=[1, 1], patch_size=[32, 32], input_name="face", network=options)
    save_model(tmp_path / "m.safetensors", SFGVGG(channels=[4] * 8), spec, provenance={})
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.spec == spec
    with pytest.raises(SfgMedError, match=r"age \(years\), gender \(male, female\)"):
        Predictor(loaded)
