# SPDX-License-Identifier: Apache-2.0
"""Training samples as a pure function of their number, so that a resumed run sees exactly what it would have seen."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import ignite.distributed as idist
import numpy as np
import psutil
import torch
from monai.data import CacheDataset
from monai.transforms import Compose, Transform
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

# Part of the memory that is free at the start that cached cases may take.
CACHE_SHARE = 0.3
# Threads that decode the cases to cache: reading and unpacking files leave Python's lock alone.
DECODERS = min(8, os.cpu_count() or 1)


class TrainingSamples(Dataset):
    """An endless stream of augmented patches, cut to the length of a run.

    Sample i takes case ``order[i mod n]`` of the (i div n)-th shuffle, and its random transforms are seeded with
    (seed, i): neither workers, nor processes, nor an interruption change it.

    Args:
        data: items of :func:`sfg_med.transforms.case_items`.
        transform: the deterministic transforms, whose results are cached as far as memory allows.
        random_transform: random transforms.
        length: number of samples of the whole run.
        seed: seed.
        cache_rate: part of the cases to cache; ``None`` caches what fits into a third of the free memory.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Compose,
        random_transform: Sequence[Transform],
        *,
        length: int,
        seed: int = 0,
        cache_rate: float | None = None,
    ) -> None:
        rate = affordable_cache_rate(data, transform) if cache_rate is None else cache_rate
        self.cases = CacheDataset(list(data), transform, cache_rate=rate, num_workers=DECODERS, progress=False)
        self.data = self.cases.data
        self.random_transform = Compose(random_transform)
        self.length, self.seed = length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        """Sample ``index``: a dictionary of tensors."""
        count = len(self.cases)
        epoch, position = divmod(index, count)
        order = shuffled(count, self.seed, epoch)
        # MONAI wants a 32-bit seed; some transforms draw from torch, so both are set.
        number = zlib.crc32(f"{self.seed}/{index}".encode())
        self.random_transform.set_random_state(seed=number)
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(number)
            return self.random_transform(self.cases[int(order[position])])


@lru_cache(maxsize=2)  # drawn once an epoch, not once a sample: there may be many thousands of cases
def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the cases in an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def affordable_cache_rate(data: Sequence[dict[str, Any]], transform: Compose) -> float:
    """Part of the cases that fits into :data:`CACHE_SHARE` of the free memory, judged by the first case."""
    first = transform(data[0])
    size = sum(v.numel() * v.element_size() for v in first.values() if isinstance(v, torch.Tensor))
    return min(1.0, CACHE_SHARE * psutil.virtual_memory().available / max(size * len(data), 1))


class ResumableSampler(Sampler[int]):
    """Numbers of the samples of this process, from where the run was interrupted.

    Args:
        length: samples of the whole run over all processes.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start + idist.get_rank(), self.length, idist.get_world_size()))

    def __len__(self) -> int:
        return (self.length - self.start) // idist.get_world_size()
