# SPDX-License-Identifier: Apache-2.0
"""From the weights of a compact network back to the network that it was made from, so that training can go on."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sfg_med.networks.multitask import MultiTaskNetwork


@torch.no_grad()
def load_compact(network: MultiTaskNetwork, weights: Mapping[str, Tensor]) -> None:
    """Give a network of fixed groups the weights of its compact form.

    Compacting only sorts numbers and leaves some out. So a copy whose weights are numbered is compacted, and the
    numbers tell where each weight came from, whatever the backbone. What was left out (weights between groups that do
    not read each other) becomes zero; the probabilities behind fixed groups stay as they are.

    Args:
        network: all its kernels have groups; changed in place.
        weights: state of ``network.compact()``.

    Raises:
        KeyError: for a name that is missing or one too many.
        ValueError: for a wrong shape.
    """
    numbered = copy.deepcopy(network).double()  # whole numbers are exact up to 2^53
    count = 1  # 0 is no weight: the place holder of a group that reads nothing
    for tensor in _numbers_of(numbered).values():
        tensor.copy_(torch.arange(count, count + tensor.numel()).view_as(tensor))
        count += tensor.numel()
    origins = _numbers_of(numbered.compact())
    unknown = sorted(origins.keys() ^ {k for k, v in weights.items() if v.is_floating_point()})
    if unknown:
        raise KeyError(f"{unknown[0]} is in one of file and network only")
    values, known = torch.zeros(count), torch.zeros(count, dtype=torch.bool)
    for name, origin in origins.items():
        if origin.shape != weights[name].shape:
            raise ValueError(f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(origin.shape)}")
        places = origin.long().flatten()
        values[places], known[places] = weights[name].flatten().float(), True
    first = 1
    for tensor in _numbers_of(network).values():
        part = slice(first, first + tensor.numel())
        if known[part].any():
            tensor.copy_(values[part].view_as(tensor))
        first += tensor.numel()


def _numbers_of(network: nn.Module) -> dict[str, Tensor]:
    """Weights and statistics, not the counters and assignments."""
    return {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
