# SPDX-License-Identifier: Apache-2.0
"""Training samples are a pure function of seed and number."""

from collections import Counter
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandGaussianNoised, RandSpatialCropd
from torch.utils.data import DataLoader

from sfg_med.training import ResumableSampler, TrainingSamples, samples


def make(seed: int = 0, length: int = 40, cases: int = 5, cache_rate: float | None = 1.0) -> TrainingSamples:
    rng = np.random.default_rng(1)
    data = [{"image": torch.tensor(rng.normal(size=(1, 9, 9, 9))), "case": i} for i in range(cases)]
    random = [RandSpatialCropd("image", (4, 4, 4), random_size=False), RandGaussianNoised("image", prob=0.7)]
    return TrainingSamples(data, Compose([]), random, length=length, seed=seed, cache_rate=cache_rate)


def content(sample: dict[str, Any]) -> bytes:
    return np.asarray(sample["image"]).tobytes() + bytes([sample["case"]])


def test_a_sample_depends_on_its_number_only() -> None:
    forward = [content(make()[i]) for i in range(10)]
    other = make()
    _ = torch.rand(7), np.random.default_rng().random()
    backward = {i: content(other[i]) for i in reversed(range(10))}
    assert forward == [backward[i] for i in range(10)]
    uncached = make(cache_rate=0.0)
    assert forward == [content(uncached[i]) for i in range(10)]
    assert len(set(forward)) == 10
    assert forward != [content(make(seed=1)[i]) for i in range(10)]


def test_samples_leave_the_global_random_state_alone() -> None:
    dataset = make()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    _ = dataset[4]
    assert torch.equal(before, torch.random.get_rng_state())


def test_workers_do_not_change_samples() -> None:
    dataset = make()
    loaded = DataLoader(dataset, batch_size=1, sampler=list(range(6)), num_workers=1, collate_fn=lambda b: b[0])
    assert [content(s) for s in loaded] == [content(dataset[i]) for i in range(6)]


def test_every_case_comes_once_in_each_shuffle_and_shuffles_differ() -> None:
    dataset = make()
    order = [dataset[i]["case"] for i in range(40)]
    shuffles = [order[i : i + 5] for i in range(0, 40, 5)]
    assert all(sorted(s) == list(range(5)) for s in shuffles)
    assert len({tuple(s) for s in shuffles}) > 1
    assert Counter(order) == dict.fromkeys(range(5), 8)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("start", [0, 6])
def test_processes_share_the_samples(world: int, start: int) -> None:
    parts = []
    for rank in range(world):
        with (
            patch.object(samples.idist, "get_rank", return_value=rank),
            patch.object(samples.idist, "get_world_size", return_value=world),
        ):
            sampler = ResumableSampler(24)
            sampler.start = start
            part = list(sampler)
            assert len(part) == len(sampler) == (24 - start) // world
            parts.append(part)
    assert sorted(i for part in parts for i in part) == list(range(start, 24))


def test_the_cache_takes_a_part_of_the_free_memory_only() -> None:
    case = {"image": torch.zeros(1, 10, 10, 10)}
    with patch.object(samples.psutil, "virtual_memory") as memory:
        memory.return_value.available = 10 * 4000
        assert samples.affordable_cache_rate([case] * 10, Compose([])) == pytest.approx(samples.CACHE_SHARE)
        memory.return_value.available = 10**12
        assert samples.affordable_cache_rate([case] * 10, Compose([])) == 1
