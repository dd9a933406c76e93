# SPDX-License-Identifier: Apache-2.0
"""Average the passes of one volume through the network: mean, spread and disagreement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from sfg_med.spec import ImageTask, LabelTask, ModelSpec, Task


@dataclass
class Passes:
    """What all passes say, on the network's grid.

    Args:
        mean: image task to (1, X, Y, Z) mean in normalised units; label task to (C, X, Y, Z) probabilities.
        std: image task to (1, X, Y, Z) standard deviation in normalised units (n - 1 in the denominator).
        votes: label task to (C, X, Y, Z) part of the passes in which a class was the best; only if asked for.
        count: passes so far.
    """

    mean: dict[str, torch.Tensor] = field(default_factory=dict)
    std: dict[str, torch.Tensor] = field(default_factory=dict)
    votes: dict[str, torch.Tensor] = field(default_factory=dict)
    count: int = 0

    def entropy(self, task: str) -> torch.Tensor:
        """(1, X, Y, Z) entropy of a label task's mean probabilities, in nats."""
        return torch.special.entr(self.mean[task]).sum(dim=0, keepdim=True)


def average_passes(outputs: Iterable[torch.Tensor], spec: ModelSpec, *, vote: bool = False) -> Passes:
    """Run through the passes once and keep running sums only (Welford's scheme).

    Args:
        outputs: each pass as (C, X, Y, Z) float32 in the order of ``spec.tasks``: normalised images, logits.
        spec: the model's tasks.
        vote: also count in which part of the passes each class was the best (the paper's mode over samples).
    """
    passes = Passes()
    for output in outputs:
        passes.count += 1
        start = 0
        for task in spec.tasks:
            _add(passes, task, output[start : start + task.channels], vote)
            start += task.channels
        del output
    for spread in passes.std.values():
        spread.div_(max(passes.count - 1, 1)).sqrt_()
    return passes


def _add(passes: Passes, task: Task, channels: torch.Tensor, vote: bool) -> None:
    # the clone lets go of the other tasks' channels
    value = torch.softmax(channels, dim=0) if isinstance(task, LabelTask) else channels.clone()
    if vote and isinstance(task, LabelTask):
        _count_votes(passes, task.name, value)
    if passes.count == 1:
        passes.mean[task.name] = value
        if isinstance(task, ImageTask):
            passes.std[task.name] = torch.zeros_like(value)
        return
    mean = passes.mean[task.name]
    deviation = value - mean
    mean += deviation / passes.count
    if isinstance(task, ImageTask):
        passes.std[task.name] += deviation * (value - mean)


def _count_votes(passes: Passes, name: str, probabilities: torch.Tensor) -> None:
    best = functional.one_hot(probabilities.argmax(dim=0), len(probabilities)).movedim(-1, 0).float()
    former = passes.votes.get(name)
    passes.votes[name] = best if former is None else former + (best - former) / passes.count
