# SPDX-License-Identifier: Apache-2.0
"""Parts of the faces: sizes, order, smaller sets; batches; validation metrics of numbers and classes."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from scipy.stats import spearmanr

from sfg_med.errors import SfgMedError
from sfg_med.spec import ModelSpec, make_spec
from sfg_med.training import EvenBatches, face_parts, validation_metrics, whole_epochs
from sfg_med.transforms import EncodePictured

PARTS = ("train", "validation", "test")


@pytest.fixture
def spec() -> ModelSpec:
    tasks = [
        {"kind": "value", "name": "age", "lowest": 0},
        {"kind": "class", "name": "gender", "classes": ["male", "female"]},
    ]
    return make_spec(tasks, spacing_mm=[1, 1], patch_size=[16, 16], input_name="face")


def names(parts: dict, part: str) -> list[str]:
    return [item["case"] for item in parts[part]]


def test_parts_are_70_15_15_and_stay_the_same(noise_faces: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parts = face_parts(str(noise_faces), 16)
    assert "skipped 61_1_20170109142408075.jpg.chip.jpg: " in caplog.text
    assert "1 images skipped, 80 used" in caplog.text
    assert [len(parts[part]) for part in PARTS] == [56, 12, 12]
    assert len({name for part in PARTS for name in names(parts, part)}) == 80
    again, other = (face_parts(str(noise_faces), 16, seed=seed) for seed in (0, 1))
    assert all(names(again, part) == names(parts, part) for part in PARTS)
    assert set(names(other, "test")) != set(names(parts, "test"))
    item = parts["train"][0]
    assert (item["age"], item["gender"]) == tuple(int(v) for v in item["case"].split("_")[:2])
    assert item["face"].shape == (16, 16, 3)


def test_the_order_says_nothing_of_the_age(noise_faces: Path) -> None:
    """Names start with the age: batches of one age would lose it to batch statistics."""
    ages = [item["age"] for item in face_parts(str(noise_faces), 8)["train"]]
    assert abs(spearmanr(ages, np.arange(len(ages))).statistic) < 0.3
    assert abs(spearmanr(sorted(ages), np.arange(len(ages))).statistic) > 0.9


def test_smaller_sets_are_parts_of_larger_ones(noise_faces: Path) -> None:
    parts = {f: face_parts(str(noise_faces), 8, fraction=f) for f in (1.0, 0.5, 0.1)}
    assert [len(parts[0.1][part]) for part in PARTS] == [6, 2, 2]
    for small, large in ((0.1, 0.5), (0.5, 1.0)):
        for part in PARTS:
            assert set(names(parts[small], part)) < set(names(parts[large], part))
    trained = face_parts(str(noise_faces), 8, fraction=0.1, fraction_parts=["train"])
    assert [len(trained[part]) for part in PARTS] == [6, 12, 12]
    folds = [names(face_parts(str(noise_faces), 8, folds=4, fold=fold), "test") for fold in range(4)]
    assert len({name for fold in folds for name in fold}) == 80
    for fraction in (0, 1.5):
        with pytest.raises(SfgMedError, match="fraction"):
            face_parts(str(noise_faces), 8, fraction=fraction)


@pytest.mark.parametrize(("length", "batch_size"), [(12, 5), (10, 5), (3, 10), (3557, 10)])
def test_batches_hold_everything_once_and_none_is_small(length: int, batch_size: int) -> None:
    sampler = EvenBatches(length, batch_size)
    batches = list(sampler)
    assert [i for batch in batches for i in batch] == list(range(length))
    sizes = {len(batch) for batch in batches}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(sampler) == len(batches) == -(-length // batch_size)


def test_length_of_the_papers_run() -> None:
    assert whole_epochs(330, 16594, 10, 1000) == 548_000
    assert whole_epochs(1, 56, 10, 4) == 8


def test_items_become_normalised_samples(noise_faces: Path, spec: ModelSpec) -> None:
    item = face_parts(str(noise_faces), 16)["train"][0]
    sample = EncodePictured(spec)(item)
    pixels = np.moveaxis(item["face"].astype(np.float64), -1, 0)
    mean, deviation = pixels.mean((1, 2), keepdims=True), pixels.std((1, 2), keepdims=True)
    np.testing.assert_allclose(sample["face"].numpy(), (pixels - mean) / deviation, atol=1e-4)
    assert sample["face"].dtype == torch.float32
    assert sample["age"].item() == pytest.approx(item["age"] / 100)
    assert sample["gender"].tolist() == [item["gender"]]
    assert sample["age_annotated"].tolist() == [1]
    assert sample["gender_annotated"].tolist() == [1, 1]
    flat = EncodePictured(spec)({"case": "a", "face": np.full((4, 4, 3), 200, np.uint8), "age": None})
    assert flat["face"].abs().max() < 1e-3
    assert flat["age_annotated"].tolist() == [0]
    assert flat["gender_annotated"].tolist() == [0, 0]


def test_validation_counts_years_and_hits_of_annotated_cases(spec: ModelSpec) -> None:
    class Network:
        def split(self, output: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"age": output[:, :1], "gender": output[:, 1:]}

    predicted = torch.tensor([[0.3, 2, 1], [-0.1, 0, 1], [0.5, 0, 1], [0.9, 5, 1]])
    label = {
        "age": torch.tensor([[0.2], [0.05], [0.5], [0.0]]),
        "age_annotated": torch.tensor([[1.0], [1], [1], [0]]),
        "gender": torch.tensor([[0], [1], [0], [0]]),
        "gender_annotated": torch.tensor([[1.0, 1], [1, 1], [1, 1], [0, 0]]),
    }
    halves = [slice(0, 2), slice(2, 3), slice(3, 4)]
    outputs = [{"pred": predicted[h], "label": {k: v[h] for k, v in label.items()}} for h in halves]
    engine = Engine(lambda engine, batch: batch)
    metrics = validation_metrics(spec, Network())  # type: ignore[arg-type]
    for name, metric in metrics.items():
        metric.attach(engine, name)
    found = engine.run(outputs).metrics
    # errors of 10, 5 (a negative age counts as 0) and 0 years; the last case is not annotated
    assert float(found["mae_age"]) == pytest.approx(5, rel=1e-5)
    assert found["accuracy_gender"] == pytest.approx(2 / 3)
    assert float(found["score"]) == pytest.approx(2 / 3 - 0.05, rel=1e-5)
    unknown = engine.run(outputs[2:]).metrics
    assert np.isnan(unknown["accuracy_gender"])
