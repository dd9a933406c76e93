# SPDX-License-Identifier: Apache-2.0
"""VGG-11 whose kernels learn which tasks they serve (Bragman et al. 2019; methods.md 1.8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, max_pool3d

from sfg_med.networks.blocks import BlockStyle, SharingBlock, check_copies
from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.sharing import Features, GroupPolicy, TaskGroups
from sfg_med.sharing.groups import Pattern

POOLS = {2: max_pool2d, 3: max_pool3d}


class SFGVGG(MultiTaskNetwork):
    """SFG-VGG11: eight 3x3 convolutions with stochastic filter groups, global average pooling, one layer for each task.

    The pooled features of all groups meet in the tasks' fully connected layers, as in the released code. In the path
    form every group has its own batch norm; in the one-formula form every kernel has its own statistics anyway, and a
    kernel has one scale and shift, whatever its group.

    Args:
        spatial_dims: 2 or 3.
        in_channels: input channels.
        tasks: task name to output numbers, in output order.
        channels: kernels of each convolution.
        blocks: convolutions in each block; max-pooling by 2 follows all blocks but the last.
        copies: for each block, multiplies its kernels; 1 by default.
        groups: ``"singletons"`` (the paper), ``"lattice"`` (all sets of tasks), or sets of task names.
        policy: arguments of :class:`sfg_med.sharing.GroupPolicy`.
        variance: also return a log variance for each task.
        norm: MONAI norm; the paper's batch norm takes the batch's statistics at test time too.
        act: MONAI activation.
        norm_first: norm before the activation; the paper's figure and code have it behind.
        style: further arguments of :class:`sfg_med.networks.blocks.BlockStyle`: ``group_init``, ``form``, ``merge``
            (``"sum"`` in the paper), ``remask_paths``, ``head_scale``.

    Example:
        >>> net = SFGVGG(channels=(8, 8, 8, 8, 16, 16, 16, 16))
        >>> {name: tuple(y.shape) for name, y in net.split(net(torch.randn(2, 3, 64, 64))).items()}
        {'age': (2, 1), 'gender': (2, 2)}
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        tasks: Mapping[str, int] | None = None,
        channels: Sequence[int] = (64, 128, 256, 256, 512, 512, 512, 512),
        *,
        blocks: Sequence[int] = (1, 1, 2, 2, 2),
        copies: Sequence[int] | None = None,
        groups: Pattern = "singletons",
        policy: Mapping[str, Any] | None = None,
        variance: bool = False,
        norm: Any = "batch_statistics",
        act: Any = "prelu",
        norm_first: bool = False,
        **style: Any,
    ) -> None:
        tasks = dict(tasks or {"age": 1, "gender": 2})
        common = BlockStyle(
            spatial_dims,
            TaskGroups.make(tasks, groups),
            GroupPolicy(**(policy or {})),
            norm=norm,
            act=act,
            norm_first=norm_first,
            **style,
        )
        super().__init__(tasks, common, variance=variance)
        if sum(blocks) != len(channels) or min(blocks) < 1:
            raise ValueError(f"blocks {tuple(blocks)} do not make {len(channels)} convolutions")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        times = check_copies(copies, len(blocks))
        widths = iter(channels)
        self.blocks = nn.ModuleList()
        into = in_channels
        for count, factor in zip(blocks, times, strict=True):
            block = nn.Sequential()
            for _ in range(count):
                out = next(widths) * factor
                block.append(SharingBlock(common, into, out, image=into == in_channels and not self.blocks))
                into = out
            self.blocks.append(block)
        self.head = self.make_head(common, into)

    def stages(self, image: Tensor) -> Iterator[tuple[Features, Features]]:
        """The blocks; each reads the pooled features of the one before."""
        features = Features((image,))
        for index, block in enumerate(self.blocks):
            if index:
                features = features.apply(lambda m: POOLS[self.spatial_dims](m, 2))
            first = features = block[0](features)  # type: ignore[index]
            for layer in block[1:]:  # type: ignore[index]
                features = layer(features)
            yield first, features

    def gather(self, features: Features) -> Features:
        """Global average pooling."""
        dims = tuple(range(2, 2 + self.spatial_dims))
        return features.apply(lambda m: m.mean(dims, keepdim=True))

    def finish(self, output: Tensor) -> Tensor:
        """``(B, sum of output channels)``."""
        return output.flatten(1)

    @property
    def stage_modules(self) -> dict[str, tuple[str, ...]]:
        """The blocks."""
        return {f"blocks.{i}": (f"blocks.{i}",) for i in range(len(self.blocks))}

    def example_input(self) -> Tensor:
        """Two pixels along each axis in the last block, which batch statistics need."""
        return torch.zeros(1, self.in_channels, *[2 ** len(self.blocks)] * self.spatial_dims)
