# SPDX-License-Identifier: Apache-2.0
"""Draws of the kernels' groups from what a network has learned, also after its groups were frozen.

A trained model is stored with every kernel frozen in its likeliest group, the mode of what it learned; the learned
probabilities are stored beside. Drawing means drawing from these. Groups that were chosen otherwise (searched,
constant, compacted) have no probabilities to draw from.

How the two kinds are told apart: learned groups agree with the probabilities in most kernels of each layer. Not in
all, as models of version 0.1.0 went on moving probabilities a little after their groups were frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from sfg_med.networks import MultiTaskNetwork
from sfg_med.sharing.kernel_groups import FREE, IDLE

# Part of a layer's fixed kernels that are in their likeliest group, from which on the groups count as learned. Some may
# be in another one, where a task would have had too few of its own.
AGREEMENT = 0.5


def has_posterior(network: torch.nn.Module) -> bool:
    """Whether draws can differ and come from learned probabilities."""
    if not isinstance(network, MultiTaskNetwork):
        return hasattr(network, "posterior_draw")
    layers = [layer.kernel_groups for layer in network.sharing_layers().values()]
    for groups in layers:
        assert groups.distribution is not None  # sharing_layers has no others
        fixed = groups.assignment >= 0
        agreeing = groups.assignment[fixed] == groups.distribution().argmax(-1)[fixed]
        if len(agreeing) and float(agreeing.float().mean()) < AGREEMENT:
            return False
    return bool(layers)


@contextmanager
def drawn_groups(network: torch.nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Inside the block the network runs with one draw of its kernels' groups; afterwards it is as before.

    Args:
        network: a network for which :func:`has_posterior` holds.
        generator: source of the draw, on the CPU.
    """
    with _free_groups(network), network.posterior_draw(generator):  # type: ignore[operator]
        yield


@contextmanager
def mean_groups(network: MultiTaskNetwork) -> Iterator[None]:
    """Inside the block every kernel is in all groups at once, by their probabilities: z = p, the mean of the draws."""
    with _free_groups(network), _held(network, "mean"):
        yield


@contextmanager
def likeliest_groups(network: MultiTaskNetwork) -> Iterator[None]:
    """Inside the block kernels whose groups are not fixed are in their likeliest one."""
    with _held(network, "argmax"):
        yield


@contextmanager
def _held(network: MultiTaskNetwork, mode: str) -> Iterator[None]:
    rule = replace(network.policy, mode=mode, per_sample=False)
    try:
        network.hold_groups(rule)
        yield
    finally:
        network.hold_groups(None)


@contextmanager
def _free_groups(network: torch.nn.Module) -> Iterator[None]:
    """Inside the block frozen kernels are free to be drawn; afterwards they are in their groups again.

    Idle kernels, which are in no group, stay so.
    """
    if not isinstance(network, MultiTaskNetwork):
        yield
        return
    layers = [layer.kernel_groups for layer in network.sharing_layers().values()]
    frozen = [groups.assignment.clone() for groups in layers]
    try:
        for groups in layers:
            groups.assignment.masked_fill_(groups.assignment != IDLE, FREE)
        yield
    finally:
        for groups, assignment in zip(layers, frozen, strict=True):
            groups.assignment.copy_(assignment)
