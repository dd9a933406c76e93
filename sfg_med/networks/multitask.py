# SPDX-License-Identifier: Apache-2.0
"""What every network with learned sharing can do: split, show, fix, draw and compact its groups."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from sfg_med.networks.blocks import SharingBlock, reorder_norm
from sfg_med.sharing import GroupPolicy, KernelGroups, PathConv, SharingConv, TaskGroups
from sfg_med.sharing.compact import compact_convolutions


class MultiTaskNetwork(nn.Module, ABC):
    """Base of the networks: one output tensor whose channels belong to tasks, and kernels that belong to groups.

    Args:
        tasks: task name to output channels, in output order.
        groups: the groups of the kernels.
        policy: the sampling rule; training schedules change it.
    """

    def __init__(self, tasks: Mapping[str, int], groups: TaskGroups, policy: GroupPolicy) -> None:
        super().__init__()
        self.tasks = dict(tasks)
        self.groups = groups
        self.policy = policy

    @abstractmethod
    def example_input(self) -> Tensor:
        """Smallest input that the network takes, ``(1, C, *spatial)``."""

    def split(self, output: Tensor) -> dict[str, Tensor]:
        """``(B, C, *spatial)`` to ``{task: (B, C_task, *spatial)}``."""
        return dict(zip(self.tasks, output.split(list(self.tasks.values()), dim=1), strict=True))

    def sharing_layers(self) -> dict[str, SharingConv]:
        """The convolutions whose kernels learn groups, by qualified name, in the order of the forward pass."""
        named = {n: m for n, m in self.named_modules() if isinstance(m, SharingConv)}
        return {n: m for n, m in named.items() if m.kernel_groups.distribution is not None}

    def group_probabilities(self) -> dict[str, Tensor]:
        """``(K, G)`` probabilities of each sharing layer's kernels; rows sum to 1, fixed kernels are one-hot."""
        return {name: layer.kernel_groups.probabilities() for name, layer in self.sharing_layers().items()}

    def set_groups(self, assignment: Mapping[str, Tensor]) -> None:
        """Fix the kernels of layers to groups, by index into ``groups.names`` (-1 frees a kernel).

        Raises:
            KeyError: for a layer that does not exist.
            ValueError: for a wrong length or index.
        """
        layers = self.sharing_layers()
        unknown = [name for name in assignment if name not in layers]
        if unknown:
            raise KeyError(f"no sharing layer {unknown[0]!r}; the layers are {', '.join(layers)}")
        for name, values in assignment.items():
            layers[name].kernel_groups.fix(values)

    def freeze_groups(self) -> None:
        """Fix every kernel that is still free to its likeliest group."""
        for layer in self.sharing_layers().values():
            layer.kernel_groups.fix(layer.kernel_groups.probabilities().argmax(-1))

    def assignments(self) -> dict[str, Tensor]:
        """Likeliest (or fixed) group of each kernel, ``{layer: (K,) long}``."""
        return {name: p.detach().argmax(-1).cpu() for name, p in self.group_probabilities().items()}

    @contextmanager
    def posterior_draw(self, generator: torch.Generator, policy: GroupPolicy | None = None) -> Iterator[None]:
        """Hold one draw of all kernels' groups inside the block: one Monte-Carlo sample of the posterior.

        Args:
            generator: source of the draw's seed.
            policy: rule of the draw; the network's own rule with Gumbel draws if ``None``.
        """
        rule = replace(policy or self.policy, mode="gumbel", per_sample=False)
        holders = [m for m in self.modules() if isinstance(m, KernelGroups)]
        seed = int(torch.randint(2**62, (1,), generator=generator))
        try:
            with torch.random.fork_rng(devices=[]):
                torch.random.default_generator.manual_seed(seed)
                for holder in holders:
                    holder.hold(rule)
            yield
        finally:
            for holder in holders:
                holder.hold(None)

    def compact(self, task: str | None = None) -> MultiTaskNetwork:
        """A plain network with the same input and output, from the likeliest groups.

        Kernels are sorted by group and only the blocks of the effective kernels that are not zero are kept.

        Args:
            task: keep one task only; the output then has this task's channels.

        Raises:
            ValueError: for an unknown task, or a network in the path form.
        """
        if task is not None and task not in self.tasks:
            raise ValueError(f"unknown task {task!r}; the tasks are {', '.join(self.tasks)}")
        if any(isinstance(m, PathConv) for m in self.modules()):
            raise ValueError("only the one-formula form is compacted; load the weights into form='formula'")
        network = copy.deepcopy(self).eval()
        example = network.example_input().to(next(self.parameters()))
        done = compact_convolutions(network, lambda: network(example), self.groups, task)
        for name, module in list(network.named_modules()):
            if isinstance(module, SharingBlock) and f"{name}.conv" in done:
                module.conv, order = done[f"{name}.conv"]
                module.norms = nn.ModuleList([reorder_norm(n, order) for n in module.norms])
        network.restrict_tasks(task, done)
        return network.train(self.training)

    @abstractmethod
    def restrict_tasks(self, task: str | None, done: Mapping[str, tuple[nn.Module, Tensor]]) -> None:
        """Take the compacted head; called by :meth:`compact` on the copy."""
