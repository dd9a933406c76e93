# SPDX-License-Identifier: Apache-2.0
"""From probabilities to fixed groups: the likeliest ones, with something left to every task."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sfg_med.sharing.distribution import EPS
from sfg_med.sharing.groups import TaskGroups


def fixed_groups(probabilities: Tensor, groups: TaskGroups, least: float = 0.0) -> Tensor:
    """The likeliest choice of groups in which every task has enough kernels of its own.

    A task without kernels of its own in a layer lives on what is shared, and what is shared reads only what is shared
    before: the likeliest groups alone may cut a task off from its input, or leave it a single channel. The gradient of
    p does not see that, as it moves one kernel at a time.

    Args:
        probabilities: ``(K, G)``, rows sum to 1.
        groups: the G groups.
        least: part of the kernels that each task has for itself at least, rounded up; where there are not enough
            kernels for that, the tasks get as many each as there are.

    Returns:
        ``(K,)`` group indices.
    """
    p = probabilities.detach().clamp_min(EPS).log().cpu()
    likeliest, chosen = p.max(-1)
    kernels = len(p)
    own = [index for index, tasks in enumerate(groups.sets) if len(tasks) == 1]
    quota = min(math.ceil(least * kernels), kernels // max(len(own), 1))
    # An assignment problem: so many places for each task's own kernels, and for the rest a place of their choice.
    places = torch.tensor(own, dtype=torch.long).repeat_interleave(quota)
    free = likeliest[:, None].expand(-1, kernels - len(places))
    rows, columns = linear_sum_assignment(torch.cat([p[:, places], free], 1).double().numpy(), maximize=True)
    for kernel, place in zip(rows, columns, strict=True):
        if place < len(places):
            chosen[kernel] = places[place]
    return chosen.to(probabilities.device)
