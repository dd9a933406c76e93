# SPDX-License-Identifier: Apache-2.0
"""Random sets of kernels for each task, fixed or roaming: what a pattern is worth that nobody has learned.

Maximum Roaming (Pascal et al., AAAI 2021, arXiv 2006.09762). The rule is that of the authors' code
(lucaspascal/Maximum-Roaming-Mutli-Task-Learning, cityscapes/MR_layer.py and train_MR.py): at first every kernel
serves some task, and kernels are added to each task at random until it has its share p; at each update one kernel,
drawn from those that serve the task, leaves it, and one that never served it enters, until every kernel has served
every task. As one update enters no more than one kernel and a leaving one is drawn from those there before, each
kernel serves each task for at least one interval.

Without an interval the masks never change, as in Task Routing (Strezoski et al., ICCV 2019, arXiv 1903.12117), except
that there a kernel may be left without any task.

Choices here: a kernel that leaves its only task is idle until another task takes it, as in the authors' code, though
idle kernels are worth nothing once roaming has ended; the share is rounded down (theirs up), but no task is left
without a kernel; which kernels cover for a task is drawn (theirs go by index); each task goes on until it is done
itself (theirs stops a layer with its first task). As groups, the masks follow the subset rule: where tasks' masks
mix, a kernel of two tasks reads only kernels of both, while theirs reads with each task's own mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfg_med.sharing.groups import TaskGroups
from sfg_med.sharing.kernel_groups import IDLE


@dataclass(frozen=True)
class RoamingMasks:
    """The group of every kernel at every iteration: a pure function of seed, layer and iteration.

    Args:
        groups: all non-empty sets of tasks (``TaskGroups.make(tasks, "lattice")``).
        ratio: the part of a layer's kernels that each task uses, above 0 and at most 1. Less than 1 / T counts as
            1 / T, because every kernel starts with a task.
            The authors' code has 0.6 for Cityscapes and 0.8 for CelebA.
        interval: training iterations between updates (the authors: one epoch for Cityscapes, a tenth of one for
            CelebA); ``None`` never updates.
        seed: seed of all draws.

    Example:
        >>> masks = RoamingMasks(TaskGroups.make(("a", "b"), "lattice"), ratio=0.5, interval=100)
        >>> masks.assignment(layer_index=0, kernels=4, iteration=0).bincount(minlength=3).tolist()
        [2, 0, 2]
    """

    groups: TaskGroups
    ratio: float = 0.5
    interval: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.groups) != 2 ** len(self.groups.tasks) - 1:
            raise ValueError(f"random masks need all sets of the tasks as groups, got {self.groups.names}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"a sharing ratio is above 0 and at most 1, got {self.ratio}")
        if self.interval is not None and self.interval < 1:
            raise ValueError(f"an interval is at least 1 iteration, got {self.interval}")

    def assignment(self, layer_index: int, kernels: int, iteration: int) -> Tensor:
        """``(K,)`` group index of each kernel, :data:`IDLE` for those that serve no task at present.

        Args:
            layer_index: position of the layer in the network; layers draw independently.
            kernels: number of kernels K.
            iteration: training iteration, counted from 0.
        """
        steps = _trajectory(self.groups, self.ratio, self.seed, layer_index, kernels)
        updates = 0 if self.interval is None else iteration // self.interval
        return torch.from_numpy(steps[min(updates, len(steps) - 1)].astype(np.int64))

    def settled_at(self, kernels: int) -> int:
        """The iteration from which a layer of this many kernels stays as it is."""
        fewest = _sizes(kernels, len(self.groups.tasks), self.ratio).min()
        return (kernels - int(fewest)) * (self.interval or 0)


def initial_masks(kernels: int, tasks: int, ratio: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """``(T, K)``: each kernel serves one task at least, each task ``int(ratio * K)`` kernels or a little more.

    More only where ``ratio`` is so small that covering all kernels takes it; at least one kernel.
    """
    masks = np.zeros((tasks, kernels), dtype=bool)
    masks[np.arange(kernels) % tasks, generator.permutation(kernels)] = True
    for mask, size in zip(masks, _sizes(kernels, tasks, ratio), strict=True):
        mask[generator.choice(np.flatnonzero(~mask), size - mask.sum(), replace=False)] = True
    return masks


def roam(masks: NDArray[np.bool_], served: NDArray[np.bool_], generator: np.random.Generator) -> None:
    """One update in place: for each task a kernel that serves it leaves and one that has not served it yet enters.

    Args:
        masks: ``(T, K)``, which kernels serve which task now.
        served: ``(T, K)``, which have ever served it. A task that all kernels have served keeps its kernels.
        generator: source of the draws.
    """
    for mask, before in zip(masks, served, strict=True):
        if not before.all():
            leaving = generator.choice(np.flatnonzero(mask))
            entering = generator.choice(np.flatnonzero(~before))
            mask[leaving], mask[entering], before[entering] = False, True, True


def _sizes(kernels: int, tasks: int, ratio: float) -> NDArray[np.int64]:
    """``(T,)``: number of kernels of each task."""
    covering = np.bincount(np.arange(kernels) % tasks, minlength=tasks)
    # 0.29 * 100 is 28.999999999999996.
    return np.maximum(covering, max(1, int(ratio * kernels + 1e-9)))


@lru_cache(maxsize=256)
def _trajectory(groups: TaskGroups, ratio: float, seed: int, layer_index: int, kernels: int) -> NDArray[np.int32]:
    """``(updates + 1, K)``: the groups after each update of a layer."""
    tasks = len(groups.tasks)
    generator = np.random.default_rng([seed, layer_index, kernels])
    masks = initial_masks(kernels, tasks, ratio, generator)
    served = masks.copy()
    group_of = np.full(2**tasks, IDLE, dtype=np.int32)
    for index, members in enumerate(groups.sets):
        group_of[sum(2**task for task in members)] = index
    bits = 2 ** np.arange(tasks)
    steps = [group_of[bits @ masks]]
    while not served.all():
        roam(masks, served, generator)
        steps.append(group_of[bits @ masks])
    return np.stack(steps)
