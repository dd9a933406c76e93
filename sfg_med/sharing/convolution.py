# SPDX-License-Identifier: Apache-2.0
"""The stochastic and fixed convolution by the one formula: ``W_eff = W * (M_out R M_in^T)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from sfg_med.sharing.counting import zeros_allowed
from sfg_med.sharing.features import Features
from sfg_med.sharing.kernel_groups import KernelGroups

CONVOLUTIONS = {2: nn.functional.conv2d, 3: nn.functional.conv3d}
# Convolutions take the layout of their weights; this one saves a third of a training step on a CPU.
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
Size = int | Sequence[int]
# He initialisation with the leaky slope of the networks here (methods.md 1.6).
SLOPE = 0.01


def as_tuple(size: Size, dims: int) -> tuple[int, ...]:
    """One number or one for each axis, as a tuple."""
    return (size,) * dims if isinstance(size, int) else tuple(size)


class SharingConv(nn.Module):
    """A dense convolution whose kernels belong to groups of tasks.

    With one-hot memberships the routing and the gradients of the weights are exactly those of stochastic filter
    groups, one masked convolution for each group, at the cost of a single dense convolution
    (docs/explanation/one-formula.md).

    Args:
        spatial_dims: 2 or 3.
        in_channels: input channels C.
        out_channels: kernels K.
        kernel_groups: groups of the K kernels.
        kernel_size: one number or one for each axis; "same" padding.
        stride: one number or one for each axis.
        dilation: spacing of the kernel's elements.
        bias: add a learned constant to each kernel's output.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_groups: KernelGroups,
        *,
        kernel_size: Size = 3,
        stride: Size = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.kernel_groups = kernel_groups
        self.stride = as_tuple(stride, spatial_dims)
        self.dilation = dilation
        kernel = as_tuple(kernel_size, spatial_dims)
        self.padding = tuple(dilation * (k - 1) // 2 for k in kernel)
        empty = torch.empty(out_channels, in_channels, *kernel)
        self.weight = nn.Parameter(empty.contiguous(memory_format=CHANNELS_LAST[spatial_dims]))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        nn.init.kaiming_normal_(self.weight, a=SLOPE)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int = 1) -> Tensor:
        """Plain convolution with this layer's stride, padding and dilation."""
        layout = CHANNELS_LAST[self.spatial_dims]
        single = x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
        if x.device.type == "cpu" and groups == 1:
            if weight.shape[1] == 1 and zeros_allowed():
                # A single input channel has no fast kernel on a CPU: a second one of zeros makes it many times faster.
                channel = [0, 0] * self.spatial_dims + [0, 1]
                x, weight = (pad(t, channel).contiguous(memory_format=layout) for t in (x, weight))
            elif single and weight[0, 0].numel() == 1 and max(self.stride) == 1:
                # Nor has a 1 x 1 convolution in single precision.
                return linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
        function = CONVOLUTIONS[self.spatial_dims]
        return function(x, weight, bias, self.stride, self.padding, self.dilation, groups)

    def forward(self, features: Features) -> Features:
        """``(B, C, *spatial)`` to ``(B, K, *spatial / stride)``."""
        (x,) = features.maps
        # Memberships are small and need full precision, whatever the convolution runs in.
        with torch.autocast(x.device.type, enabled=False):
            out = self.kernel_groups(x.shape[0], features.membership)
            weight = self.weight if features.membership is None else self.effective_weight(out, features.membership)
        if weight.dim() == self.weight.dim():
            return Features((self.convolve(x, weight, self.bias),), out)
        return Features((self._convolve_each(x, weight),), out)

    def effective_weight(self, out: Tensor, into: Tensor) -> Tensor:
        """``W * (M_out R M_in^T)``: ``(K, C, *kernel)``, or ``(B, K, C, *kernel)`` for draws per sample."""
        mask = out @ self.kernel_groups.reads.to(out.dtype) @ into.transpose(-1, -2)
        return self.weight * mask[(...,) + (None,) * self.spatial_dims]

    def _convolve_each(self, x: Tensor, weight: Tensor) -> Tensor:
        # One grouped convolution serves the samples' different kernels.
        batch, kernels = weight.shape[:2]
        bias = None if self.bias is None else self.bias.repeat(batch)
        y = self.convolve(x.reshape(1, -1, *x.shape[2:]), weight.flatten(0, 1), bias, groups=batch)
        return y.reshape(batch, kernels, *y.shape[2:])
