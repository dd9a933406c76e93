# SPDX-License-Identifier: Apache-2.0
"""HighResNet whose kernels learn which tasks they serve (Bragman et al. 2019; methods.md 1.9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sfg_med.networks.blocks import BlockStyle, PreActivationBlock, SharingBlock, check_copies
from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.sharing import Features, GroupPolicy, TaskGroups
from sfg_med.sharing.convolution import SLOPE
from sfg_med.sharing.groups import Pattern


class SFGHighResNet(MultiTaskNetwork):
    """SFG-HighResNet: full resolution throughout, dilated residual blocks between convolutions that learn groups.

    Only the plain 3x3 convolutions learn groups, as published. The residual blocks between them differ by form. In the
    path form (paper-literal) every group has its own copy of them, at full width. In the one-formula form there is one
    set of kernels, and kernel k stays in the group of channel k, which the residual sum adds it to: the routing is the
    same, the weights and the arithmetic are a third. The paper's network is 2D; this one is 2D or 3D.

    Args:
        spatial_dims: 2 or 3.
        in_channels: input channels.
        tasks: task name to output channels, in output order.
        channels: kernels of the convolutions that learn groups.
        dilations: dilation of the residual blocks behind each of them; 0 for none.
        residual_blocks: residual blocks behind each, of two convolutions each.
        copies: for each stage (a convolution and its residual blocks), multiplies its kernels; 1 by default.
        groups: ``"singletons"`` (the paper), ``"lattice"`` (all sets of tasks), or sets of task names.
        policy: arguments of :class:`sfg_med.sharing.GroupPolicy`.
        variance: also return a log variance for each task.
        norm: MONAI norm; the paper's batch norm takes the batch's statistics at test time too.
        act: MONAI activation.
        style: further arguments of :class:`sfg_med.networks.blocks.BlockStyle`: ``group_init``, ``norm_first``,
            ``form``, ``merge`` (``"concat"`` in the paper), ``remask_paths``, ``head_scale``.

    Example:
        >>> net = SFGHighResNet(2, channels=(4, 4, 8, 8, 8))
        >>> {name: tuple(y.shape) for name, y in net.split(net(torch.randn(1, 1, 32, 32))).items()}
        {'ct': (1, 1, 32, 32), 'seg': (1, 6, 32, 32)}
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        tasks: Mapping[str, int] | None = None,
        channels: Sequence[int] = (16, 32, 64, 64, 64),
        *,
        dilations: Sequence[int] = (1, 2, 4, 0, 0),
        residual_blocks: int = 2,
        copies: Sequence[int] | None = None,
        groups: Pattern = "singletons",
        policy: Mapping[str, Any] | None = None,
        variance: bool = False,
        norm: Any = "batch_statistics",
        act: Any = "prelu",
        **style: Any,
    ) -> None:
        tasks = dict(tasks or {"ct": 1, "seg": 6})
        common = BlockStyle(
            spatial_dims, TaskGroups.make(tasks, groups), GroupPolicy(**(policy or {})), norm=norm, act=act, **style
        )
        super().__init__(tasks, common, variance=variance)
        if len(dilations) != len(channels):
            raise ValueError(f"{len(channels)} convolutions need {len(channels)} dilations, got {tuple(dilations)}")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        times = check_copies(copies, len(channels))
        widths = [c * t for c, t in zip(channels, times, strict=True)]
        residual = ResidualCopies if common.form == "paths" else ResidualBlock
        self.convs = nn.ModuleList()
        self.residuals = nn.ModuleList()
        for i, (into, out) in enumerate(zip([in_channels, *widths[:-1]], widths, strict=True)):
            self.convs.append(SharingBlock(common, into, out, image=i == 0))
            count = residual_blocks if dilations[i] else 0
            self.residuals.append(nn.Sequential(*(residual(common, out, dilations[i]) for _ in range(count))))
        self.head = self.make_head(common, widths[-1])

    def stages(self, image: Tensor) -> Iterator[tuple[Features, Features]]:
        """Each convolution and the residual blocks behind it."""
        features = Features((image,))
        for conv, residual in zip(self.convs, self.residuals, strict=True):
            first = conv(features)
            features = residual(first)
            yield first, features

    @property
    def stage_modules(self) -> dict[str, tuple[str, ...]]:
        """Each convolution and the residual blocks behind it."""
        return {f"convs.{i}": (f"convs.{i}", f"residuals.{i}") for i in range(len(self.convs))}

    def example_input(self) -> Tensor:
        """Any size will do; batch statistics need more than one pixel."""
        return torch.zeros(1, self.in_channels, *[8] * self.spatial_dims)


class ResidualBlock(nn.Module):
    """Twice norm, activation and dilated convolution, and the sum with the input; kernels keep to their channels.

    Args:
        style: what the network's blocks have in common.
        channels: input and output channels.
        dilation: of both convolutions.
    """

    def __init__(self, style: BlockStyle, channels: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(PreActivationBlock(style, channels, dilation) for _ in range(2)))

    def forward(self, features: Features) -> Features:
        """``(B, C, *spatial)`` to the same shape."""
        change = self.layers(features)
        return Features((features.maps[0] + change.maps[0],), features.membership)


class ResidualCopies(nn.Module):
    """The published residual block: a copy for each path, at full width (methods.md 1.9).

    Args:
        style: what the network's blocks have in common.
        channels: input and output channels of each path.
        dilation: of both convolutions.
    """

    def __init__(self, style: BlockStyle, channels: int, dilation: int) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[style.spatial_dims - 2]

        def layer() -> nn.Sequential:
            plain = conv(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
            nn.init.kaiming_normal_(plain.weight, a=SLOPE)
            return nn.Sequential(style.make_norm(channels), style.make_act(channels), plain)

        self.copies = nn.ModuleList(nn.Sequential(layer(), layer()) for _ in range(style.paths))

    def forward(self, features: Features) -> Features:
        """``(B, C, *spatial)`` in each path to the same shapes."""
        maps = tuple(m + copy(m) for copy, m in zip(self.copies, features.maps, strict=True))
        return Features(maps, features.membership)
