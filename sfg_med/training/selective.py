# SPDX-License-Identifier: Apache-2.0
"""Merge the tasks' estimators while training (Selective Sharing, Strezoski et al., ICMR 2019; methods.md 4).

Choices, where the text could not be had: gradients are those of the estimators' first layer; tasks are grouped at
fixed parts of the run; groups never split again; of a cluster the estimator is kept whose tasks' loss fell most.

The threshold is a choice too, from a planted case (tests/training/test_planted_tasks.py; 12 runs in which two of three
tasks were the same, 12 with three different ones). Over the second and third part of a run, different tasks were 0.74
to 1.17 apart and the same ones 0.27 to 0.65, at one of the two times at most 0.49. In the first part a random output
layer hides who is alike (same tasks: 0.58 to 1.02, different ones: 0.87 to 1.10); where the output layer started at
zero, the same tasks were at most 0.20 apart from the first part on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events

from sfg_med.losses import JointLoss
from sfg_med.networks import LOG_VARIANCE, MultiTaskNetwork
from sfg_med.sharing import IDLE, SharingConv
from sfg_med.sharing.gradient_clusters import GradientClusters

# Smoothing of the running loss.
MEMORY = 0.98


class SelectiveSharing:
    """Watches the estimators' gradients and merges estimators.

    Args:
        network: from :func:`sfg_med.networks.strategies.selective_sharing`, without clusters.
        loss: its parts tell how the tasks do.
        steps: iterations of the run.
        merge_at: parts of the run after which tasks are grouped; gradients count from one to the next.
        threshold: cosine distance below which tasks are merged.
        rank: of the factorisation; ``None`` keeps all.
        metric: distance of the factors.
        decay: of the running mean of the gradients.

    Raises:
        ValueError: for options that could not be used when it is time to merge.
    """

    def __init__(
        self,
        network: MultiTaskNetwork,
        loss: JointLoss,
        steps: int,
        *,
        merge_at: Sequence[float] = (0.1, 0.2, 0.3),
        threshold: float = 0.6,
        rank: int | None = None,
        metric: str = "cosine",
        decay: float = 1.0,
    ) -> None:
        self.network, self.loss = network, loss
        self.merge_at = [round(part * steps) for part in merge_at]
        self.threshold, self.rank, self.metric, self.decay = threshold, rank, metric, decay
        self.layers = _estimator_layers(network)
        self.branches: list[list[str]] = [[task] for task in network.tasks]
        self.first_loss: dict[str, float] = {}
        self.running_loss: dict[str, float] = {}
        if not merge_at or sorted(merge_at) != list(merge_at) or merge_at[0] <= 0:
            raise ValueError(f"merge_at needs rising parts of the run, got {merge_at}")
        trial = self._start()
        trial.update(torch.eye(len(network.tasks)))
        trial.clusters(threshold, rank, metric)
        self.gradients = self._start()

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Take the gradients of the iteration; merge when it is time."""
        step = engine.state.iteration
        if step > self.merge_at[-1] or len(self.branches) == 1:
            return
        for task in self.network.tasks:
            value = self.loss.last[f"loss_{task}"]
            if value == 0:  # no case of the batch was annotated for the task
                continue
            self.first_loss.setdefault(task, value)
            self.running_loss[task] = MEMORY * self.running_loss.get(task, value) + (1 - MEMORY) * value
        gradients = self._estimator_gradients()
        if torch.isfinite(gradients).all():  # an overflow in half precision says nothing about the tasks
            self.gradients.update(gradients)
        if step in self.merge_at:
            clusters = self.gradients.clusters(self.threshold, self.rank, self.metric)
            self._merge(clusters, getattr(engine, "optimizer", None))
            self.gradients = self._start()

    def state_dict(self) -> dict[str, Any]:
        """Branches, gradients and losses so far; the kernels' groups are a part of the network."""
        state = self.gradients.state_dict()
        return {
            "branches": self.branches,
            "gradients": state,
            "first": dict(self.first_loss),
            "running": dict(self.running_loss),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.branches = [list(branch) for branch in state["branches"]]
        self.first_loss, self.running_loss = dict(state["first"]), dict(state["running"])
        self.gradients = self._start()
        self.gradients.load_state_dict(state["gradients"])

    def _start(self) -> GradientClusters:
        return GradientClusters(["+".join(branch) for branch in self.branches], self.decay)

    def _group(self, branch: Sequence[str]) -> int:
        return self.network.groups.index(branch)

    def _estimator_gradients(self) -> torch.Tensor:
        """``(branches, N)``: gradients of each branch's first layer; only its own tasks' losses reach it."""
        layer = self.network.sharing_layers()[self.layers[0]]
        gradient = layer.weight.grad
        assert gradient is not None
        groups = layer.kernel_groups.assignment
        return torch.stack([gradient[groups == self._group(b)].flatten().float().cpu() for b in self.branches])

    def _merge(self, clusters: Sequence[Sequence[int]], optimizer: torch.optim.Optimizer | None) -> None:
        merged = []
        for cluster in clusters:
            members = [self.branches[i] for i in cluster]
            together = sorted((t for m in members for t in m), key=list(self.network.tasks).index)
            if len(members) > 1:
                kept = min(members, key=self._progress)
                for branch in members:
                    if branch is not kept:
                        self._drop(branch, kept, optimizer)
                self._replace(self._group(kept), self._group(together))
            merged.append(together)
        self.branches = merged

    def _progress(self, branch: Sequence[str]) -> float:
        """Part of the first loss that is left, 1 for tasks without any case so far."""
        left = [self.running_loss[t] / self.first_loss[t] if t in self.first_loss else 1.0 for t in branch]
        return sum(left) / len(left)

    @torch.no_grad()
    def _drop(self, branch: Sequence[str], kept: Sequence[str], optimizer: torch.optim.Optimizer | None) -> None:
        """Take a branch's kernels out; its tasks' output layers read the kept branch as they read their own.

        All branches were equal at first, so that their kernels correspond. What the optimiser remembers of the output
        layers goes with them: without, Adam would take the first steps on the new weights at several times its rate.
        """
        head = self.network.head
        assert isinstance(head, SharingConv)
        last = self.network.sharing_layers()[self.layers[-1]].kernel_groups.assignment
        names = [name for name, n in self.network.outputs.items() for _ in range(n)]
        rows = torch.tensor([name.removesuffix(LOG_VARIANCE) in branch for name in names], device=last.device)
        own, theirs = last == self._group(branch), last == self._group(kept)
        memory = optimizer.state.get(head.weight, {}).values() if optimizer is not None else ()
        for value in (head.weight, *(m for m in memory if torch.is_tensor(m) and m.shape == head.weight.shape)):
            value[rows.nonzero(), theirs.nonzero().T] = value[rows][:, own]
        self._replace(self._group(branch), IDLE)

    def _replace(self, old: int, new: int) -> None:
        for name in self.layers:
            groups = self.network.sharing_layers()[name].kernel_groups
            groups.fix(torch.where(groups.assignment == old, new, groups.assignment))


def _estimator_layers(network: MultiTaskNetwork) -> list[str]:
    """Layers that hold kernels of single tasks, in forward order."""
    layers = network.sharing_layers()
    shared = network.groups.full
    ordered = [name for names in network.stage_layers.values() for name in names]
    return [name for name in ordered if bool((layers[name].kernel_groups.assignment != shared).any())]
