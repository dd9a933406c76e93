# SPDX-License-Identifier: Apache-2.0
"""What a part of a batch weighs, where several processes or several passes make one training step together.

A task's loss is a mean over the cases that are annotated for it. Parts of a batch differ in how many those are, so the
plain mean of their losses (and gradients, which is what DistributedDataParallel takes) would weigh cases unequally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ignite.distributed as idist
import torch
from torch import Tensor

from sfg_med.spec import ANNOTATED


def case_shares(
    tasks: Sequence[str], targets: Mapping[str, Tensor], whole: Mapping[str, Tensor] | None = None
) -> dict[str, float | Tensor]:
    """Factor of each task's loss in this part, so that the mean over all parts is the loss of the whole batch.

    With n of the N annotated cases of the step in one of M equally large parts, it is n M / N; 1 if there is one part.
    Every process must call this at the same time.

    Args:
        tasks: task names.
        targets: ``<task>_annotated`` ``(B, C)`` of this part.
        whole: the same of all that this process adds to the step; ``None``: this part is all.

    Returns:
        Task name to factor.
    """
    processes = idist.get_world_size()
    if processes == 1 and whole is None:
        return dict.fromkeys(tasks, 1.0)
    here = _annotated_cases(tasks, targets)
    step = here if whole is None else _annotated_cases(tasks, whole)
    name = f"{tasks[0]}{ANNOTATED}"
    parts = processes * (1 if whole is None else len(whole[name]) // len(targets[name]))
    total = mean_over_processes(step) * processes
    return dict(zip(tasks, here * parts / total.clamp_min(1), strict=True))


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of each element over all processes; carries no gradient. Every process must call this at the same time."""
    processes = idist.get_world_size()
    if processes == 1:
        return values
    return torch.as_tensor(idist.all_reduce(values.detach().clone())) / processes


def _annotated_cases(tasks: Sequence[str], targets: Mapping[str, Tensor]) -> Tensor:
    """``(T,)`` cases whose loss counts: their first channel says it, as in :mod:`sfg_med.losses.tasks`."""
    return torch.stack([targets[f"{task}{ANNOTATED}"][:, 0].float().sum() for task in tasks])
