# SPDX-License-Identifier: Apache-2.0
"""Average the passes of one volume through the network: mean, spread, disagreement, and what each pass is unsure of.

Uncertainty has two parts (Bragman et al., MICCAI 2018). The *parameter* part is what the passes disagree about: the
variance of an image over the passes, and of organs the mutual information between class and pass. The *intrinsic* part
is what each pass says itself: the mean of the variances that a network with variance heads predicts, and of organs the
mean of the passes' entropies. They add up: to the variance of the prediction, and to the entropy of the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from sfg_med.losses import bounded_log_variance
from sfg_med.spec import ImageTask, LabelTask, ModelSpec, Task


@dataclass
class Passes:
    """What all passes say, on the network's grid.

    Args:
        mean: image task to (1, X, Y, Z) mean in normalised units; label task to (C, X, Y, Z) probabilities.
        variance: image task to (1, X, Y, Z) variance over the passes in normalised units, squared (n - 1 in the
            denominator): the parameter part.
        intrinsic: image task to (1, X, Y, Z) mean of the predicted variances, of networks that predict them; label task
            to (1, X, Y, Z) mean of the passes' entropies, only if asked for.
        votes: label task to (C, X, Y, Z) part of the passes in which a class was the best; only if asked for.
        count: passes so far.
    """

    mean: dict[str, torch.Tensor] = field(default_factory=dict)
    variance: dict[str, torch.Tensor] = field(default_factory=dict)
    intrinsic: dict[str, torch.Tensor] = field(default_factory=dict)
    votes: dict[str, torch.Tensor] = field(default_factory=dict)
    count: int = 0

    def entropy(self, task: str) -> torch.Tensor:
        """(1, X, Y, Z) entropy of a label task's mean probabilities, in nats."""
        return _entropy(self.mean[task])


def average_passes(
    outputs: Iterable[torch.Tensor], spec: ModelSpec, *, vote: bool = False, entropy_parts: bool = False
) -> Passes:
    """Run through the passes once and keep running sums only (Welford's scheme).

    Args:
        outputs: each pass as (C, X, Y, Z) float32 in the order of ``spec.tasks``: normalised images, logits. A network
            with variance heads has one log variance for each task behind them.
        spec: the model's tasks.
        vote: also count in which part of the passes each class was the best (the paper's mode over samples).
        entropy_parts: also average the passes' own entropies.
    """
    passes = Passes()
    counts = spec.channels
    for output in outputs:
        passes.count += 1
        values = dict(zip(counts, output[: sum(counts.values())].split(list(counts.values())), strict=True))
        for task in spec.tasks:
            _add(passes, task, values[task.name], vote, entropy_parts)
        _add_variances(passes, spec, output[sum(counts.values()) :])
        del output, values
    for spread in passes.variance.values():
        spread.div_(max(passes.count - 1, 1))
    return passes


def _add(passes: Passes, task: Task, channels: torch.Tensor, vote: bool, entropy_parts: bool) -> None:
    # the clone lets go of the other tasks' channels
    value = torch.softmax(channels, dim=0) if isinstance(task, LabelTask) else channels.clone()
    if isinstance(task, LabelTask):
        if vote:
            best = functional.one_hot(value.argmax(dim=0), len(value)).movedim(-1, 0).float()
            _add_to_mean(passes.votes, task.name, best, passes.count)
        if entropy_parts:
            _add_to_mean(passes.intrinsic, task.name, _entropy(value), passes.count)
    if passes.count == 1:
        passes.mean[task.name] = value
        if isinstance(task, ImageTask):
            passes.variance[task.name] = torch.zeros_like(value)
        return
    mean = passes.mean[task.name]
    deviation = value - mean
    mean += deviation / passes.count
    if isinstance(task, ImageTask):
        passes.variance[task.name] += deviation * (value - mean)


def _add_variances(passes: Passes, spec: ModelSpec, log_variances: torch.Tensor) -> None:
    if not len(log_variances):
        return
    by_task: Mapping[str, torch.Tensor] = dict(zip(spec.channels, log_variances.split(1), strict=True))
    for task in spec.image_tasks:
        variance = torch.exp(bounded_log_variance(by_task[task.name]))
        _add_to_mean(passes.intrinsic, task.name, variance, passes.count)


def _add_to_mean(means: dict[str, torch.Tensor], name: str, value: torch.Tensor, count: int) -> None:
    former = means.get(name)
    means[name] = value if former is None else former + (value - former) / count


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(probabilities).sum(dim=0, keepdim=True)
