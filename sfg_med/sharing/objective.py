# SPDX-License-Identifier: Apache-2.0
"""The penalties of the variational objective: weights towards their prior, groupings towards uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sfg_med.sharing.compact import CompactConv
from sfg_med.sharing.convolution import SharingConv
from sfg_med.sharing.distribution import entropy

NORMALISATIONS = ("sum", "mean")


@dataclass(frozen=True)
class VariationalObjective:
    """``weight_decay * weights - entropy_weight * entropy``, to be added to the data loss (Bragman et al. 2019, eq. 6).

    Args:
        weight_decay: lambda_1. The paper's value is 1e-6.
        entropy_weight: lambda_2. The paper's value is 1e-5. The entropy is subtracted: it pulls p to uniform.
        normalisation: ``"sum"`` is the paper's formula: the squared norms and the entropies summed over all kernels.
            ``"mean"`` is what the released code does: half the squared norm averaged over the weight tensors, and the
            entropy averaged over the kernels of a layer and summed over layers (methods.md 1.3).
    """

    weight_decay: float = 1e-6
    entropy_weight: float = 1e-5
    normalisation: str = "mean"

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation must be one of {NORMALISATIONS}, got {self.normalisation!r}")

    def __call__(self, network: nn.Module) -> Tensor:
        """Scalar penalty of a network's sharing layers."""
        norms = torch.stack([norm for norm in map(_squared_norm, network.modules()) if norm is not None])
        learned = [m.kernel_groups for m in network.modules() if isinstance(m, SharingConv) and m.kernel_groups.learns]
        entropies = [entropy(groups.probabilities()) for groups in learned]
        if self.normalisation == "sum":
            weights = norms.sum()
            total = sum((h.sum() for h in entropies), start=norms.new_zeros(()))
        else:
            weights = 0.5 * norms.mean()
            total = sum((h.mean() for h in entropies), start=norms.new_zeros(()))
        return self.weight_decay * weights - self.entropy_weight * total


def _squared_norm(layer: nn.Module) -> Tensor | None:
    """Of a convolution's weights; none for other modules."""
    if isinstance(layer, SharingConv):
        return layer.weight.float().square().sum()
    if isinstance(layer, CompactConv):
        return torch.stack([w.float().square().sum() for w in layer.weights]).sum()
    return None


def mean_entropy(probabilities: Mapping[str, Tensor]) -> float:
    """Mean entropy of the kernels' groupings in nats, for logs."""
    if not probabilities:
        return 0.0
    rows = torch.cat([entropy(p.detach()) for p in probabilities.values()])
    return float(rows.mean())
