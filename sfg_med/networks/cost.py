# SPDX-License-Identifier: Apache-2.0
"""What a network costs to run: parameters and arithmetic of one forward pass."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.sharing import FREE, PathConv
from sfg_med.sharing.counting import without_zeros


def network_cost(network: MultiTaskNetwork, shape: Sequence[int]) -> tuple[int, float]:
    """Parameters and arithmetic of a network as it is deployed: compact, where its groups are decided.

    A network in the path form, and one whose groups are drawn at every pass, is counted as it stands.

    Args:
        network: trained network.
        shape: of the input, ``(B, C, *spatial)``.

    Returns:
        Number of parameters, and GFLOP (10^9 additions and multiplications in convolutions and matrix products) of one
        forward pass.
    """
    free = any(bool((layer.kernel_groups.assignment == FREE).any()) for layer in network.sharing_layers().values())
    drawn = free and network.policy.eval_mode == "gumbel"
    paths = any(isinstance(m, PathConv) for m in network.modules())
    deployed = copy.deepcopy(network) if paths or drawn else network.compact()
    deployed.eval()
    counter = FlopCounterMode(display=False)
    first = next(deployed.parameters())
    with torch.no_grad(), without_zeros(), counter:
        deployed(torch.zeros(*shape, device=first.device, dtype=first.dtype))
    return sum(p.numel() for p in deployed.parameters()), counter.get_total_flops() / 1e9
