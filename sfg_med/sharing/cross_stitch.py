# SPDX-License-Identifier: Apache-2.0
"""Cross-stitch units (Misra et al., CVPR 2016): every task reads a learned mixture of all tasks' features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossStitch(nn.Module):
    """Linear mixture of the tasks' feature maps, with coefficients for each channel.

    ``y[t, c] = sum_s alpha[t, s, c] x[s, c]``, unconstrained and shared over space.

    Args:
        tasks: number of tasks T.
        channels: channels of each task's network C.
        same: initial coefficient of a task's own features; the others share ``1 - same`` equally. The stochastic
            filter groups paper starts at 0.5 for two tasks, the original at 0.9.
    """

    def __init__(self, tasks: int, channels: int, same: float = 0.5) -> None:
        super().__init__()
        other = (1 - same) / max(tasks - 1, 1)
        start = torch.full((tasks, tasks), other).fill_diagonal_(same)
        self.alpha = nn.Parameter(start[:, :, None].repeat(1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T * C, *spatial)``, the tasks one after another, to the same shape."""
        tasks, _, channels = self.alpha.shape
        maps = x.unflatten(1, (tasks, channels))
        coefficients = self.alpha.to(x.dtype)[(...,) + (None,) * (x.dim() - 2)]
        # A sum of T scaled copies: a contraction would gather the channels and cost copies of the features.
        mixed = [sum(coefficients[t, s] * maps[:, s] for s in range(tasks)) for t in range(tasks)]
        return torch.cat(mixed, dim=1)
