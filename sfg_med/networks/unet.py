# SPDX-License-Identifier: Apache-2.0
"""U-Net whose kernels learn which tasks they serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sfg_med.networks.blocks import BlockStyle, SharingBlock, check_copies
from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.sharing import Features, GroupPolicy, TaskGroups, concatenate
from sfg_med.sharing.convolution import Size, as_tuple
from sfg_med.sharing.groups import Pattern

MODES = {2: "bilinear", 3: "trilinear"}


class SFGUNet(MultiTaskNetwork):
    """U-Net with stochastic filter groups in every convolution; skip connections are routed by group.

    Plain convolution blocks as in nnU-Net; the decoder interpolates and then convolves, which leaves no checkerboard in
    a synthesised image. The one-formula form is described in docs/explanation/one-formula.md.

    Args:
        spatial_dims: 2 or 3.
        in_channels: input channels.
        tasks: task name to output channels, in output order.
        channels: kernels of each resolution level, finest first.
        strides: down-sampling into each level but the first, each a number or one for each axis; 2 by default.
        kernel_sizes: kernel size of each level, each a number or one for each axis; 3 by default.
        convs_per_level: convolutions in each level of the encoder and of the decoder.
        copies: for each stage (levels of the encoder, then of the decoder), multiplies its kernels; 1 by default.
        groups: ``"singletons"`` (the paper), ``"lattice"`` (all sets of tasks), or sets of task names.
        policy: arguments of :class:`sfg_med.sharing.GroupPolicy`.
        variance: also return a log variance for each task.
        style: arguments of :class:`sfg_med.networks.blocks.BlockStyle`: ``group_init``, ``norm``, ``act``, ``form``
            (``"formula"``, one dense convolution a layer, or ``"paths"``, the paper's, one for each group), ``merge``,
            ``remask_paths``, ``head_scale``.

    Example:
        >>> net = SFGUNet(2, 1, {"ct": 1, "seg": 6}, channels=(8, 16))
        >>> {name: tuple(y.shape) for name, y in net.split(net(torch.zeros(1, 1, 32, 32))).items()}
        {'ct': (1, 1, 32, 32), 'seg': (1, 6, 32, 32)}
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        tasks: Mapping[str, int] | None = None,
        channels: Sequence[int] = (16, 32, 64, 128),
        *,
        strides: Sequence[Size] | None = None,
        kernel_sizes: Sequence[Size] | None = None,
        convs_per_level: int = 2,
        copies: Sequence[int] | None = None,
        groups: Pattern = "singletons",
        policy: Mapping[str, Any] | None = None,
        variance: bool = False,
        **style: Any,
    ) -> None:
        tasks = dict(tasks or {"ct": 1, "seg": 6})
        common = BlockStyle(spatial_dims, TaskGroups.make(tasks, groups), GroupPolicy(**(policy or {})), **style)
        super().__init__(tasks, common, variance=variance)
        levels = len(channels)
        strides = [2] * (levels - 1) if strides is None else list(strides)
        kernels = [3] * levels if kernel_sizes is None else list(kernel_sizes)
        if len(strides) != levels - 1 or len(kernels) != levels:
            raise ValueError(f"{levels} levels need {levels - 1} strides and {levels} kernel sizes")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.strides = [as_tuple(s, spatial_dims) for s in strides]
        rising = list(range(levels - 2, -1, -1))
        times = check_copies(copies, 2 * levels - 1)
        down = [channels[i] * times[i] for i in range(levels)]
        up = [channels[i] * t for i, t in zip(rising, times[levels:], strict=True)]

        def level(into: int, out: int, kernel: Size, stride: Size = 1, image: bool = False) -> nn.Sequential:
            first = SharingBlock(common, into, out, kernel_size=kernel, stride=stride, image=image)
            others = (SharingBlock(common, out, out, kernel_size=kernel) for _ in range(convs_per_level - 1))
            return nn.Sequential(first, *others)

        inputs, steps, first = [in_channels, *down[:-1]], [1, *strides], [True] + [False] * (levels - 1)
        self.encoder = nn.ModuleList(map(level, inputs, down, kernels, steps, first))
        # A 1x1 convolution commutes with interpolation: reduce the channels first, on the coarse grid.
        below = [down[-1], *up[:-1]]
        self.reduce = nn.ModuleList(
            SharingBlock(common, b, u, kernel_size=1, plain=True) for b, u in zip(below, up, strict=True)
        )
        self.decoder = nn.ModuleList(level(u + down[i], u, kernels[i]) for i, u in zip(rising, up, strict=True))
        self.head = self.make_head(common, up[-1] if up else down[-1])

    def stages(self, image: Tensor) -> Iterator[tuple[Features, Features]]:
        """Levels of the encoder, then of the decoder; any spatial size."""
        features = Features((image,))
        skips = []
        for level in self.encoder:
            first, features = _run(level, features)
            skips.append(features)
            yield first, features
        skips.pop()
        for reduce, level in zip(self.reduce, self.decoder, strict=True):
            skip = skips.pop()
            first, features = _run(level, concatenate(_enlarge(reduce(features), skip.maps[0].shape[2:]), skip))
            yield first, features

    @property
    def stage_modules(self) -> dict[str, tuple[str, ...]]:
        """Levels of the encoder, then of the decoder."""
        down = {f"encoder.{i}": (f"encoder.{i}",) for i in range(len(self.encoder))}
        return down | {f"decoder.{i}": (f"reduce.{i}", f"decoder.{i}") for i in range(len(self.decoder))}

    def example_input(self) -> Tensor:
        """Two voxels along each axis at the coarsest level."""
        size = [2] * self.spatial_dims
        for stride in self.strides:
            size = [s * step for s, step in zip(size, stride, strict=True)]
        return torch.zeros(1, self.in_channels, *size)


def _run(level: nn.Module, features: Features) -> tuple[Features, Features]:
    """Features after the first block of a level and after its last."""
    first = last = level[0](features)  # type: ignore[index]
    for block in level[1:]:  # type: ignore[index]
        last = block(last)
    return first, last


def _enlarge(features: Features, size: Sequence[int]) -> Features:
    mode = MODES[len(size)]
    return features.apply(lambda m: interpolate(m, size=tuple(size), mode=mode, align_corners=False))
