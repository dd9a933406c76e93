# SPDX-License-Identifier: Apache-2.0
"""Fixed sharing patterns: for each stage of a network, which sets of tasks own which part of its kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfg_med.sharing.groups import TaskGroups
from sfg_med.sharing.kernel_groups import IDLE

TaskSet = tuple[str, ...]
Partition = Sequence[Sequence[str]]


@dataclass(frozen=True)
class SharingPattern:
    """Who owns the kernels of each stage.

    Args:
        stages: for each stage, sets of tasks and their part of the kernels; parts sum to 1.
        copies: for each stage, how often it has its kernels (a branch at full width is a copy).
        rest: what becomes of kernels that rounding leaves over: ``"largest"`` gives them to the largest part (as in
            the paper's constant mask), ``"idle"`` to nobody, so that equal parts stay equal.
    """

    stages: tuple[Mapping[TaskSet, float], ...]
    copies: tuple[int, ...]
    rest: str = "largest"

    @property
    def sets(self) -> list[TaskSet]:
        """All sets of tasks that own kernels somewhere."""
        return sorted({s for stage in self.stages for s in stage})

    def assignment(self, stage: int, kernels: int, groups: TaskGroups) -> Tensor:
        """``(K,)`` group indices of a layer of this stage, in the order of the stage's sets.

        Raises:
            ValueError: if a task would be left without any kernel.
        """
        shares = self.stages[stage]
        counts = [int(share * kernels + 1e-9) for share in shares.values()]
        left = kernels - sum(counts)
        if self.rest == "largest":
            given = list(shares.values())
            counts[given.index(max(given))] += left
            left = 0
        served = {task for tasks, n in zip(shares, counts, strict=True) if n for task in tasks}
        without = [t for t in groups.tasks if t not in served]
        if without:
            raise ValueError(f"in stage {stage} none of {kernels} kernels would serve {', '.join(without)}")
        owners = [groups.index(s) for s in shares]
        parts = [torch.full((n,), g) for n, g in zip([*counts, left], [*owners, IDLE], strict=True)]
        return torch.cat(parts)


def hard_sharing(tasks: Sequence[str], stages: int) -> SharingPattern:
    """All kernels serve all tasks; only the heads are apart."""
    return tree([[list(tasks)]] * stages, full=False)


def single_tasks(tasks: Sequence[str], stages: int, *, full: bool) -> SharingPattern:
    """Separate networks.

    Args:
        tasks: task names.
        stages: number of stages.
        full: every task has the whole network's width; otherwise they share its kernels out (the paper's one-task
            baseline: half the width for two tasks).
    """
    return tree([[[t] for t in tasks]] * stages, full=full)


def constant_mask(tasks: Sequence[str], stages: int, shares: Mapping[str, float] | None = None) -> SharingPattern:
    """Every task and the set of all tasks own a constant part of each layer's kernels, equal parts by default.

    Args:
        tasks: task names.
        stages: number of stages.
        shares: parts by the groups' names, such as ``{"ct": 0.3, "ct+seg": 0.4, "seg": 0.3}``.

    Raises:
        ValueError: for an unknown task or parts that do not sum to 1.
    """
    groups = TaskGroups.make(tasks)
    parts = shares or dict.fromkeys(groups.names, 1 / len(groups))
    if abs(sum(parts.values()) - 1) > 1e-6:
        raise ValueError(f"the shares of a constant mask sum to 1, got {dict(parts)}")
    stage = {tuple(name.split("+")): float(part) for name, part in parts.items()}
    return SharingPattern((stage,) * stages, (1,) * stages)


def tree(partitions: Sequence[Partition], *, full: bool) -> SharingPattern:
    """Tasks grouped by a partition at each stage, finer with depth (Branched Multi-Task Networks).

    Args:
        partitions: for each stage, clusters of task names.
        full: every branch has the stage's whole width (as published); otherwise the branches share its kernels out.

    Raises:
        ValueError: if the clusters of a stage are no partition, or do not refine those of the stage before.
    """
    for index, partition in enumerate(partitions):
        members = sorted(t for cluster in partition for t in cluster)
        if members != sorted(t for cluster in partitions[0] for t in cluster) or len(set(members)) != len(members):
            raise ValueError(f"the clusters of stage {index} are no partition of the tasks: {partition}")
        above = partitions[max(index - 1, 0)]
        if not all(any(set(cluster) <= set(parent) for parent in above) for cluster in partition):
            raise ValueError(f"the clusters of stage {index}, {partition}, do not refine those before, {above}")
    stages = tuple({tuple(cluster): 1 / len(p) for cluster in p} for p in partitions)
    copies = tuple(len(p) if full else 1 for p in partitions)
    return SharingPattern(stages, copies, rest="idle")
