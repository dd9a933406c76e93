# SPDX-License-Identifier: Apache-2.0
"""The categorical distribution over groups that every kernel learns (Bragman et al. 2019, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Dirichlet

from sfg_med.sharing.groups import TaskGroups

GroupInit = str | Sequence[float]
SHARED_PART = 0.6
VERTEX_PART = 0.99
STARTS = ("default", "uniform", "dirichlet", "vertices")
# p is kept off 0 so that its logarithm and its entropy stay finite (the released code clips at the same value).
EPS = 1e-10


def initial_probabilities(groups: TaskGroups, kernels: int, init: GroupInit = "default") -> Tensor:
    """Starting point of p.

    Args:
        groups: the G groups.
        kernels: number of kernels K of the layer.
        init: ``"default"`` gives 0.6 to the full set and shares the rest equally (0.2/0.6/0.2 for two tasks, the
            paper's choice), ``"uniform"`` 1/G each, ``"dirichlet"`` an independent Dirichlet(1, ..., 1) draw for
            each kernel, ``"vertices"`` 0.99 to one group and the rest equally to the others, with as many kernels of
            each group (the paper's study of the start, methods.md 1.13), or G numbers that sum to 1.

    Returns:
        ``(K, G)`` probabilities.

    Raises:
        ValueError: if the numbers are no distribution over the groups.
    """
    size = len(groups)
    if init == "dirichlet":
        return Dirichlet(torch.ones(size)).sample((kernels,)).clamp_min(1e-3)
    if size == 1:
        return torch.ones(kernels, 1)
    if init == "vertices":
        own = torch.arange(kernels) * size // kernels
        return torch.full((kernels, size), (1 - VERTEX_PART) / (size - 1)).scatter(1, own[:, None], VERTEX_PART)
    if init == "uniform":
        values = torch.full((size,), 1.0 / size)
    elif init == "default":
        values = torch.full((size,), (1.0 - SHARED_PART) / (size - 1))
        values[groups.full] = SHARED_PART
    elif isinstance(init, str):
        raise ValueError(f"unknown start of the group probabilities {init!r}; known: {STARTS}")
    else:
        values = torch.tensor([float(v) for v in init])
        if values.numel() != size or (values <= 0).any() or abs(float(values.sum()) - 1) > 1e-4:
            raise ValueError(f"group_init needs {size} positive numbers that sum to 1, for {groups.names}; got {init}")
    return values.repeat(kernels, 1)


class GroupDistribution(nn.Module):
    """Group probabilities of the K kernels of a layer: softplus of free variables, normalised.

    Args:
        probabilities: ``(K, G)`` starting point; the free variables are its inverse softplus, so p starts
            there exactly.
    """

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__()
        p = probabilities / probabilities.sum(-1, keepdim=True)
        self.rho = nn.Parameter(torch.log(torch.expm1(p)))

    def forward(self) -> Tensor:
        """Return p, ``(K, G)``, rows sum to 1."""
        positive = nn.functional.softplus(self.rho.float()).clamp_min(EPS)
        return positive / positive.sum(-1, keepdim=True)


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy of each row in nats: ``(..., G)`` to ``(...)``."""
    p = probabilities.clamp_min(EPS)
    return -(p * p.log()).sum(-1)
