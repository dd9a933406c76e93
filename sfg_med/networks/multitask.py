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
from torch.nn.functional import one_hot

from sfg_med.networks.blocks import BlockStyle, PreActivationBlock, SharingBlock, scale_weights
from sfg_med.sharing import FREE, Features, GroupPolicy, KernelGroups, PathConv, SharingConv
from sfg_med.sharing.compact import CompactConv, compact_convolutions
from sfg_med.sharing.fixing import Reserve
from sfg_med.sharing.roaming import RoamingMasks
from sfg_med.sharing.rounding import round_groups

LOG_VARIANCE = "_log_variance"


class MultiTaskNetwork(nn.Module, ABC):
    """Base of the networks: one output tensor whose channels belong to tasks, and kernels that belong to groups.

    Args:
        tasks: task name to output channels, in output order.
        style: what the blocks have in common, with the groups of the kernels and the sampling rule.
        variance: also return a log variance for each task, one channel, after the channels of all tasks
            (heteroscedastic uncertainty; methods.md 2).
    """

    head: nn.Module

    def __init__(self, tasks: Mapping[str, int], style: BlockStyle, *, variance: bool = False) -> None:
        super().__init__()
        self.tasks = dict(tasks)
        self.outputs = {**self.tasks, **({f"{t}{LOG_VARIANCE}": 1 for t in tasks} if variance else {})}
        self.style = style
        # Set by strategies whose groups change by plan while training.
        self.roaming: RoamingMasks | None = None
        self.groups = style.groups
        self.policy = style.policy

    @abstractmethod
    def stages(self, image: Tensor) -> Iterator[tuple[Features, Features]]:
        """Run the trunk; yield each stage's features after its first convolution and at its end.

        Args:
            image: ``(B, C, *spatial)``.
        """

    @property
    @abstractmethod
    def stage_modules(self) -> dict[str, tuple[str, ...]]:
        """Stage name to the names of its modules, in the order of :meth:`stages`."""

    @abstractmethod
    def example_input(self) -> Tensor:
        """Smallest input that the network takes, ``(1, C, *spatial)``."""

    def gather(self, features: Features) -> Features:
        """What lies between the trunk and the head."""
        return features

    def finish(self, output: Tensor) -> Tensor:
        """Shape of the output that the head's map is given."""
        return output

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, *spatial)`` to ``(B, sum of output channels, *spatial)``.

        A 2D network takes volumes too, slice by slice along the last axis (axial in RAS).
        """
        if x.dim() == self.style.spatial_dims + 3:
            slices = self(x.movedim(-1, 1).flatten(0, 1))
            return slices.unflatten(0, (x.shape[0], x.shape[-1])).movedim(1, -1)
        return self.run(x)

    def run(self, x: Tensor) -> Tensor:
        """The network itself; see :meth:`forward`."""
        *_, (_, last) = self.stages(x)
        return self.read_out(last)

    def read_out(self, features: Features) -> Tensor:
        """The tasks' output from the trunk's last features."""
        maps = self.head(self.gather(features)).maps
        return self.finish(maps[0] if len(maps) == 1 else torch.stack(maps).sum(0))

    def split(self, output: Tensor) -> dict[str, Tensor]:
        """``(B, C, *spatial)`` to ``{output: (B, C_output, *spatial)}``: the tasks, and their log variances."""
        return dict(zip(self.outputs, output.split(list(self.outputs.values()), dim=1), strict=True))

    def make_head(self, style: BlockStyle, channels: int) -> SharingConv:
        """A 1x1 convolution whose kernels belong to the tasks of their output channels."""
        names = [name.removesuffix(LOG_VARIANCE) for name, n in self.outputs.items() for _ in range(n)]
        owners = torch.tensor([self.groups.singleton(name) for name in names])
        fixed = KernelGroups(len(owners), self.groups, self.policy, fixed=owners)
        head = style.conv(channels, len(owners), fixed, kernel_size=1)
        scale_weights(head, style.head_scale)
        return head

    def sharing_layers(self) -> dict[str, SharingConv]:
        """The convolutions whose kernels learn groups, by qualified name, in the order of the forward pass."""
        named = {n: m for n, m in self.named_modules() if isinstance(m, SharingConv)}
        return {n: m for n, m in named.items() if m.kernel_groups.distribution is not None}

    @property
    def stage_layers(self) -> dict[str, list[str]]:
        """Stage name to the names of its layers in :meth:`group_probabilities`, in the order of the forward pass."""
        names = list(self.group_probabilities())
        return {
            stage: [n for module in modules for n in names if n.startswith(f"{module}.")]
            for stage, modules in self.stage_modules.items()
        }

    def group_probabilities(self) -> dict[str, Tensor]:
        """``(K, G)`` probabilities of each sharing layer's kernels; rows sum to 1, fixed kernels are one-hot.

        The kernels of a compact network stand in their new order.
        """
        learned = {name: layer.kernel_groups.probabilities() for name, layer in self.sharing_layers().items()}
        for name, layer in self.named_modules():
            if isinstance(layer, CompactConv) and layer.chosen:
                learned[name] = one_hot(layer.assignment, len(self.groups)).float()
        return learned

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

    def freeze_groups(self, reserve: Reserve | None = None) -> None:
        """Fix every kernel that still learns its group to its likeliest one; constant probabilities stay.

        Args:
            reserve: what every task has of each layer's kernels at least; nothing by default.
        """
        for layer in self.sharing_layers().values():
            if layer.kernel_groups.learns:
                layer.kernel_groups.freeze(reserve)

    def round_groups(self) -> int:
        """Fix every kernel's group, with group sizes that processors like (:mod:`sfg_med.sharing.rounding`).

        Returns:
            Number of kernels that changed sides.
        """
        moved = 0
        for layer in self.sharing_layers().values():
            groups = layer.kernel_groups
            assert groups.distribution is not None  # sharing_layers has no others
            decided = groups.decided()
            rounded = round_groups(decided, groups.distribution())
            groups.fix(rounded)
            moved += int((rounded != decided).sum())
        return moved

    @property
    def groups_are_fixed(self) -> bool:
        """Whether there are sharing layers, and no kernel of theirs is learned or drawn."""
        layers = self._kernel_groups()
        return bool(layers) and not any(g.learns or bool((g.assignment == FREE).any()) for g in layers)

    def settle_groups(self) -> None:
        """Stop learning the groups of layers whose kernels all have fixed ones, as in a model that was trained.

        Not in the path form, which has no compact form to be saved in.
        """
        for layer in self.sharing_layers().values():
            if not isinstance(layer, PathConv) and not bool((layer.kernel_groups.assignment == FREE).any()):
                layer.kernel_groups.set_learning(False)

    def assignments(self) -> dict[str, Tensor]:
        """Likeliest (or fixed) group of each kernel that can have one, ``{layer: (K,) long}``."""
        return {name: layer.kernel_groups.decided().cpu() for name, layer in self.sharing_layers().items()}

    @contextmanager
    def posterior_draw(self, generator: torch.Generator, policy: GroupPolicy | None = None) -> Iterator[None]:
        """Hold one draw of all kernels' groups inside the block: one Monte-Carlo sample of the posterior.

        Args:
            generator: source of the draw's seed.
            policy: rule of the draw; the network's own rule with Gumbel draws if ``None``.
        """
        rule = replace(policy or self.policy, mode="gumbel", per_sample=False)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        try:
            with torch.random.fork_rng(devices=[]):
                torch.random.default_generator.manual_seed(seed)
                self.hold_groups(rule)
            yield
        finally:
            self.hold_groups(None)

    def hold_groups(self, rule: GroupPolicy | None) -> None:
        """Keep one decision of all kernels' groups by this rule for all following passes; ``None`` lets go."""
        for module in self.modules():
            if isinstance(module, KernelGroups):
                module.hold(rule)

    def compact(self, task: str | None = None) -> MultiTaskNetwork:
        """A plain network with the same input and output, from the likeliest groups.

        Kernels are sorted by group and only the blocks of the effective kernels that are not zero are kept.

        Args:
            task: keep one task only; the output then has this task's channels.

        Raises:
            ValueError: for an unknown task, a network in the path form, one whose groups are drawn from constant
                probabilities, or a task of a network whose tasks read each other's features.
        """
        if task is not None and task not in self.tasks:
            raise ValueError(f"unknown task {task!r}; the tasks are {', '.join(self.tasks)}")
        if any(isinstance(m, PathConv) for m in self.modules()):
            raise ValueError("only the one-formula form is compacted; load the weights into form='formula'")
        free = [g for g in self._kernel_groups() if bool((g.assignment == FREE).any())]
        if any(not g.learns for g in free):
            raise ValueError("the groups are drawn from constant probabilities: there is no likeliest one")
        if any(isinstance(m, CompactConv) for m in self.modules()):
            return copy.deepcopy(self) if task is None else self._expand().compact(task)
        network = copy.deepcopy(self).eval()
        example = network.example_input().to(next(self.parameters()))
        done = compact_convolutions(network, lambda: network(example), self.groups, task)
        for name, module in list(network.named_modules()):
            if isinstance(module, SharingBlock | PreActivationBlock) and f"{name}.conv" in done:
                module.conv, order = done[f"{name}.conv"]
                module.reorder(order)
        network.restrict_tasks(task, *done["head"])
        return network.train(self.training)

    def _kernel_groups(self) -> list[KernelGroups]:
        return [layer.kernel_groups for layer in self.sharing_layers().values()]

    def _expand(self) -> MultiTaskNetwork:
        """A compact network as a network of fixed groups."""
        network = copy.deepcopy(self)
        if isinstance(network.head, _Reordered):
            head, order = network.head.layer.expand(self.groups, network.policy), network.head.order  # type: ignore[operator]
            owners = head.kernel_groups.assignment[order]
            head.kernel_groups = KernelGroups(len(owners), self.groups, network.policy, fixed=owners)
            head.weight.data, head.bias.data = head.weight.data[order], head.bias.data[order]
            network.head = head
        for name, module in list(network.named_modules()):
            if isinstance(module, SharingBlock) and not isinstance(module.unit, nn.Identity):
                raise ValueError("every task reads all tasks' features: none can be taken alone")
            if isinstance(module, CompactConv):
                parent, _, child = name.rpartition(".")
                setattr(network.get_submodule(parent), child, module.expand(self.groups, network.policy))
        return network

    def restrict_tasks(self, task: str | None, head: nn.Module, order: Tensor) -> None:
        """Take the compacted head; called by :meth:`compact` on the copy.

        Args:
            task: the only task to keep, or ``None``.
            head: compact head.
            order: old output channel at each of the head's output channels.
        """
        self.head = head
        if task is not None:
            self.tasks = {task: self.tasks[task]}
            self.outputs = {o: n for o, n in self.outputs.items() if o.removesuffix(LOG_VARIANCE) == task}
        elif not torch.equal(order, torch.arange(len(order))):
            # The head's kernels are sorted by group, which is not the order of the tasks in general.
            self.head = _Reordered(head, torch.argsort(order))


class _Reordered(nn.Module):
    """A compact layer whose output channels go back to their original order."""

    def __init__(self, layer: nn.Module, order: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.order = order

    def forward(self, features: Features) -> Features:
        return self.layer(features).apply(lambda m: m.index_select(1, self.order.to(m.device)))
