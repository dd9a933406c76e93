# SPDX-License-Identifier: Apache-2.0
"""Group sizes that processors like: the kernels whose group is least certain change sides."""

from __future__ import annotations

from itertools import product

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sfg_med.sharing.distribution import EPS
from sfg_med.sharing.kernel_groups import IDLE

# Multiples that are tried, in this order: what a vector of single precision holds, and half of it.
MULTIPLES = (16, 8)
# Part of a layer's kernels that may change sides; a layer where more would have to keeps its groups.
MOST_MOVED = 0.125
# Groups in a layer: each one's size goes up or down, and all ways are tried.
MOST_GROUPS = 12


def round_groups(
    assignment: Tensor, probabilities: Tensor, multiples: tuple[int, ...] = MULTIPLES, most: float = MOST_MOVED
) -> Tensor:
    """Move as little as possible so that every group's size is a multiple.

    No group vanishes, and no more kernels move than may: where the first multiple asks for more than that the
    next one is tried, and a layer that is too narrow for all of them stays as it is. Where the number of kernels is no
    multiple, the largest group has what is left over. Kernels in no group stay there.

    Args:
        assignment: ``(K,)`` group of each kernel.
        probabilities: ``(K, G)`` of each kernel's groups; a kernel's move from g to h costs ``log p_g - log p_h``.
        multiples: sizes to try.
        most: part of the kernels that may move.

    Returns:
        ``(K,)`` group indices.
    """
    here = assignment != IDLE
    chosen, p = assignment[here].cpu(), probabilities.detach()[here].clamp_min(EPS).double().log().cpu()
    counts = torch.bincount(chosen, minlength=p.shape[1]).tolist()
    # A move that costs nothing is still a move.
    cost = (p.gather(1, chosen[:, None]) - p).clamp_min(0) + 1e-6 * (torch.arange(p.shape[1]) != chosen[:, None])
    for multiple in multiples:
        ways = [_move(cost, sizes) for sizes in _sizes(counts, multiple)]
        ways = [(price, way) for price, way in ways if int((way != chosen).sum()) <= most * len(chosen)]
        if ways:
            best = min(ways, key=lambda way: way[0])[1]
            rounded = assignment.clone()
            rounded[here] = best.to(rounded)
            return rounded
    return assignment.clone()


def _sizes(counts: list[int], multiple: int) -> list[list[int]]:
    """All ways to bring every group that is there down or up to a multiple, without losing one or a kernel."""
    left = sum(counts) % multiple
    largest = max(range(len(counts)), key=lambda g: counts[g], default=0)
    present = [g for g, n in enumerate(counts) if n]
    if len(present) > MOST_GROUPS:
        return []
    ways = []
    for ups in product((0, 1), repeat=len(present)):
        sizes = [0] * len(counts)
        for g, up in zip(present, ups, strict=True):
            rest = left if g == largest else 0
            sizes[g] = ((counts[g] - rest) // multiple + up) * multiple + rest
        if sum(sizes) == sum(counts) and all(sizes[g] > 0 for g in present):
            ways.append(sizes)
    return ways


def _move(cost: Tensor, sizes: list[int]) -> tuple[float, Tensor]:
    """The cheapest assignment of kernels to groups of these sizes, and what it costs."""
    places = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    rows, columns = linear_sum_assignment(cost[:, places].numpy())
    chosen = torch.empty(len(cost), dtype=torch.long)
    chosen[torch.from_numpy(rows)] = places[torch.from_numpy(columns)]
    return float(cost[:, places][rows, columns].sum()), chosen
