# SPDX-License-Identifier: Apache-2.0
"""U-Net whose kernels learn which tasks they serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sfg_med.networks.blocks import FORMS, Layer, SharingBlock
from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.sharing import Features, GroupPolicy, KernelGroups, TaskGroups, concatenate
from sfg_med.sharing.convolution import Size, as_tuple
from sfg_med.sharing.distribution import GroupInit

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
        groups: ``"singletons"`` (the paper) or ``"lattice"`` (all sets of tasks).
        group_init: start of the group probabilities, see :func:`sfg_med.sharing.initial_probabilities`.
        policy: arguments of :class:`sfg_med.sharing.GroupPolicy`.
        norm: MONAI norm with arguments.
        act: MONAI activation with arguments.
        form: ``"formula"`` (one dense convolution a layer) or ``"paths"`` (the paper's, one for each group).
        merge: merge of paths, ``"sum"`` or ``"concat"``; path form only.
        remask_paths: zero foreign channels after the norm; path form only.

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
        groups: str = "singletons",
        group_init: GroupInit = "default",
        policy: Mapping[str, Any] | None = None,
        norm: Layer = "instance_channels_last",
        act: Layer = ("leakyrelu", {"negative_slope": 0.01}),
        form: str = "formula",
        merge: str = "sum",
        remask_paths: bool = True,
    ) -> None:
        tasks = dict(tasks or {"ct": 1, "seg": 6})
        super().__init__(tasks, TaskGroups.make(tasks, groups), GroupPolicy(**(policy or {})))
        levels = len(channels)
        strides = [2] * (levels - 1) if strides is None else list(strides)
        kernels = [3] * levels if kernel_sizes is None else list(kernel_sizes)
        if len(strides) != levels - 1 or len(kernels) != levels:
            raise ValueError(f"{levels} levels need {levels - 1} strides and {levels} kernel sizes")
        self.spatial_dims, self.in_channels = spatial_dims, in_channels
        self.strides = [as_tuple(s, spatial_dims) for s in strides]
        # The image is not merged from paths.
        merges = {"merge": merge} if form == "paths" else {}
        shared = {"group_init": group_init, "form": form, "remask_paths": remask_paths}

        def block(into: int, out: int, kernel: Size, stride: Size = 1, **extra: Any) -> SharingBlock:
            options = {"norm": norm, "act": act, **shared, "conv": merges, **extra}
            return SharingBlock(
                spatial_dims, into, out, self.groups, self.policy, kernel_size=kernel, stride=stride, **options
            )

        def level(into: int, out: int, kernel: Size, stride: Size = 1) -> nn.Sequential:
            first = block(into, out, kernel, stride)
            return nn.Sequential(first, *(block(out, out, kernel) for _ in range(convs_per_level - 1)))

        inputs, steps = [in_channels, *channels[:-1]], [1, *strides]
        encoder = [level(*sizes) for sizes in zip(inputs, channels, kernels, steps, strict=True)]
        encoder[0][0] = block(in_channels, channels[0], kernels[0], conv={})
        self.encoder = nn.ModuleList(encoder)
        # A 1x1 convolution commutes with interpolation: reduce the channels first, on the coarse grid.
        rising = range(levels - 2, -1, -1)
        self.reduce = nn.ModuleList(block(channels[i + 1], channels[i], 1, act=None) for i in rising)
        self.decoder = nn.ModuleList(level(2 * channels[i], channels[i], kernels[i]) for i in rising)
        owners = torch.tensor([self.groups.singleton(t) for t, n in tasks.items() for _ in range(n)])
        fixed = KernelGroups(len(owners), self.groups, self.policy, fixed=owners)
        self.head: nn.Module = FORMS[form](spatial_dims, channels[0], len(owners), fixed, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, *spatial)`` to ``(B, sum of task channels, *spatial)``; any spatial size."""
        features = Features((x,))
        skips = []
        for level in self.encoder:
            features = level(features)
            skips.append(features)
        skips.pop()
        for reduce, level in zip(self.reduce, self.decoder, strict=True):
            skip = skips.pop()
            features = level(concatenate(_enlarge(reduce(features), skip.maps[0].shape[2:]), skip))
        maps = self.head(features).maps
        return maps[0] if len(maps) == 1 else torch.stack(maps).sum(0)

    def example_input(self) -> Tensor:
        """Two voxels along each axis at the coarsest level."""
        size = [2] * self.spatial_dims
        for stride in self.strides:
            size = [s * step for s, step in zip(size, stride, strict=True)]
        return torch.zeros(1, self.in_channels, *size)

    def restrict_tasks(self, task: str | None, done: Mapping[str, tuple[nn.Module, Tensor]]) -> None:
        """Put the compacted head in place."""
        self.head, order = done["head"]
        if task is not None:
            self.tasks = {task: self.tasks[task]}
        elif not torch.equal(order, torch.arange(len(order))):
            # The head's kernels are sorted by group, which is not the order of the tasks in general.
            self.head = _Reordered(self.head, torch.argsort(order))


class _Reordered(nn.Module):
    """A compact layer whose output channels go back to their original order."""

    def __init__(self, layer: nn.Module, order: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.order = order

    def forward(self, features: Features) -> Features:
        return self.layer(features).apply(lambda m: m.index_select(1, self.order.to(m.device)))


def _enlarge(features: Features, size: Sequence[int]) -> Features:
    mode = MODES[len(size)]
    return features.apply(lambda m: interpolate(m, size=tuple(size), mode=mode, align_corners=False))
