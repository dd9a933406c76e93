# SPDX-License-Identifier: Apache-2.0
"""What the tasks share: from a strategy's name and options, and a backbone, to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from sfg_med.networks.blocks import SharingBlock, scale_weights
from sfg_med.networks.mtan import AttentionNetwork
from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.sharing import SharingConv, patterns
from sfg_med.sharing.compact import CompactConv, decide_groups, trace_inputs
from sfg_med.sharing.cross_stitch import CrossStitch
from sfg_med.sharing.patterns import Partition, SharingPattern
from sfg_med.sharing.roaming import RoamingMasks

# Makes the backbone of the specification; takes further arguments of its class.
Backbone = Callable[..., MultiTaskNetwork]


def sfg(backbone: Backbone, **options: Any) -> MultiTaskNetwork:
    """Stochastic filter groups: every kernel learns its group.

    Args:
        backbone: the backbone.
        options: arguments of the backbone that replace its own, such as ``groups: lattice`` or ``form: paths``.
    """
    return backbone(**options)


def single_task(backbone: Backbone, full: bool = False) -> MultiTaskNetwork:
    """One network for each task.

    Args:
        backbone: the backbone.
        full: each with the whole width; otherwise they share the kernels out, as the paper's one-task baseline.
    """
    tasks, stages = _sizes(backbone)
    return _fixed(backbone, patterns.single_tasks(tasks, stages, full=full))


def hard_sharing(backbone: Backbone) -> MultiTaskNetwork:
    """All kernels serve all tasks."""
    return _fixed(backbone, patterns.hard_sharing(*_sizes(backbone)))


def constant_mask(backbone: Backbone, shares: Mapping[str, float] | None = None) -> MultiTaskNetwork:
    """A constant part of each layer for each task and for all tasks together.

    Args:
        backbone: the backbone.
        shares: group name to part; equal parts by default.
    """
    return _fixed(backbone, patterns.constant_mask(*_sizes(backbone), shares))


def constant_p(backbone: Backbone, p: Any = "uniform", hard: bool = True) -> MultiTaskNetwork:
    """Groups are drawn at every step, in training and at test, from probabilities that are not learned.

    Args:
        backbone: the backbone.
        p: the probabilities, see :func:`sfg_med.sharing.initial_probabilities`.
        hard: draw one group for each kernel, not a mixture of groups (:class:`sfg_med.sharing.GroupPolicy`).
    """
    network = backbone(group_init=p, policy={"mode": "gumbel", "eval_mode": "gumbel", "hard": hard})
    _stop_learning(network)
    return network


def cross_stitch(backbone: Backbone, same: float = 0.5) -> MultiTaskNetwork:
    """One network for each task, at a part of the width, and a cross-stitch unit behind every activation.

    Args:
        backbone: the backbone.
        same: initial coefficient of a task's own features.
    """
    network = single_task(backbone)
    for module in network.modules():
        if isinstance(module, SharingBlock) and not isinstance(module.act, torch.nn.Identity):
            assert isinstance(module.conv, CompactConv)
            module.unit = CrossStitch(len(network.tasks), len(module.conv.assignment) // len(network.tasks), same)
    return network


def branched(
    backbone: Backbone, tree: Sequence[Partition] | None = None, full: bool = True, budget: float = 1.5
) -> MultiTaskNetwork:
    """Branched Multi-Task Network of a given tree.

    Args:
        backbone: the backbone.
        tree: for each stage, clusters of task names; searched by :mod:`sfg_med.training.branching`.
        full: every branch has the backbone's width, as published; otherwise branches share its kernels out.
        budget: parameters of the tree as a multiple of hard sharing's; used by the search only.

    Raises:
        ValueError: without a tree, or for one that does not fit.
    """
    if tree is None:
        raise ValueError("branched needs strategy::tree, which python -m pipelines.compare searches")
    _, stages = _sizes(backbone)
    if len(tree) != stages:
        raise ValueError(f"a tree for this network has {stages} stages, got {len(tree)}")
    return _fixed(backbone, patterns.tree(tree, full=full))


def selective_sharing(
    backbone: Backbone,
    estimator_stages: int | None = None,
    clusters: Partition | None = None,
    **search: Any,
) -> MultiTaskNetwork:
    """A shared trunk and, from its last shared stage, estimators for clusters of tasks (Strezoski et al., ICMR 2019).

    Args:
        backbone: the backbone.
        estimator_stages: last stages that make up an estimator; by default half of them, rounded down (a choice:
            the paper starts behind its feature extractor).
        clusters: clusters of tasks. Without, every task starts with an estimator of its own, all of them equal, and
            training merges them (:mod:`sfg_med.training.selective`); their kernels are all kept until then.
        search: options of the merging, unused here.
    """
    tasks, stages = _sizes(backbone)
    last = stages // 2 if estimator_stages is None else estimator_stages
    if not 0 < last < stages:
        raise ValueError(f"estimator_stages must be between 1 and {stages - 1}, got {last}")
    apart = [[t] for t in tasks] if clusters is None else clusters
    pattern = patterns.tree([[list(tasks)]] * (stages - last) + [apart] * last, full=True)
    if clusters is not None:
        return _fixed(backbone, pattern)
    network = backbone(groups="lattice", copies=pattern.copies, group_init="uniform")
    _assign(network, pattern)
    _stop_learning(network)
    _equal_branches(network)
    return network


def random_masks(backbone: Backbone, ratio: float = 0.5, interval: int | None = 50, seed: int = 0) -> MultiTaskNetwork:
    """Every kernel serves a random set of tasks, which roams while training (after Maximum Roaming, AAAI 2021).

    Args:
        backbone: the backbone.
        ratio: part of the kernels that each task uses.
        interval: iterations between two changes; ``None`` keeps the masks (as Task Routing, ICCV 2019).
        seed: seed of the masks.
    """
    network = backbone(groups="lattice", group_init="uniform")
    network.roaming = RoamingMasks(network.groups, ratio, interval, seed)
    _stop_learning(network)
    apply_masks(network, network.roaming, 0)
    return network


def apply_masks(network: MultiTaskNetwork, masks: RoamingMasks, iteration: int) -> None:
    """Give all kernels the groups that they have at this iteration."""
    layers = enumerate(network.sharing_layers().items())
    network.set_groups({n: masks.assignment(i, len(layer.weight), iteration) for i, (n, layer) in layers})


def mtan(backbone: Backbone) -> MultiTaskNetwork:
    """Hard sharing with attention of each task on every stage."""
    return AttentionNetwork(hard_sharing(backbone))


STRATEGIES: dict[str, Callable[..., MultiTaskNetwork]] = {
    "sfg": sfg,
    "single-task": single_task,
    "hard-sharing": hard_sharing,
    "constant-mask": constant_mask,
    "constant-p": constant_p,
    "cross-stitch": cross_stitch,
    "branched": branched,
    "selective-sharing": selective_sharing,
    "random-masks": random_masks,
    "mtan": mtan,
}


def _sizes(backbone: Backbone) -> tuple[list[str], int]:
    """Tasks and number of stages of a backbone."""
    with torch.random.fork_rng(devices=[]):  # the look must not change the weights that follow
        network = backbone()
    return list(network.tasks), len(network.stage_modules)


def _stop_learning(network: MultiTaskNetwork) -> None:
    for layer in network.sharing_layers().values():
        layer.kernel_groups.set_learning(False)


def _fixed(backbone: Backbone, pattern: SharingPattern) -> MultiTaskNetwork:
    """A compact network of a fixed pattern, initialised block by block as the separate networks it is made of."""
    network = backbone(groups=pattern.sets, copies=pattern.copies, group_init="uniform")
    _assign(network, pattern)
    compact = network.compact()
    for module in compact.modules():
        if isinstance(module, CompactConv):
            module.reset_parameters()
    scale_weights(compact.head, network.style.head_scale)
    return compact


def _assign(network: MultiTaskNetwork, pattern: SharingPattern) -> None:
    layers = network.sharing_layers()
    for index, names in enumerate(network.stage_layers.values()):
        for name in names:
            kernels = len(layers[name].weight)
            network.set_groups({name: pattern.assignment(index, kernels, network.groups)})


@torch.no_grad()
def _equal_branches(network: MultiTaskNetwork) -> None:
    """Give all tasks' own branches the weights of the first task's."""
    example = network.example_input()
    sources = trace_inputs(network, lambda: network(example))
    layers = {name: m for name, m in network.named_modules() if isinstance(m, SharingConv)}
    chosen = decide_groups(layers, sources)
    own = torch.tensor([network.groups.singleton(t) for t in network.tasks])
    for (name, layer), groups in zip(layers.items(), chosen, strict=True):
        origins = sources[name]
        if name == "head" or not origins.numel():
            continue
        producers = torch.stack([chosen[i][k] for i, k in origins.tolist()])
        common = ~torch.isin(producers, own)
        first = groups == own[0]
        for group in own[1:]:
            rows = groups == group
            for theirs, mine in ((producers == own[0], producers == group), (common, common)):
                if rows.any():  # not in the trunk
                    layer.weight[rows.nonzero(), mine.nonzero().T] = layer.weight[first][:, theirs]
