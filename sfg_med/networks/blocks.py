# SPDX-License-Identifier: Apache-2.0
"""Convolution, norm and activation around a sharing convolution, in the one-formula or the path form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from monai.networks.layers.utils import get_act_layer, get_norm_layer
from torch import Tensor, nn

from sfg_med.networks.norm_act import instance_norm_act
from sfg_med.networks.norms import InstanceNorm
from sfg_med.sharing import (
    Features,
    GroupPolicy,
    InheritedGroups,
    KernelGroups,
    PathConv,
    SharingConv,
    TaskGroups,
    remask,
)
from sfg_med.sharing.distribution import GroupInit

FORMS: dict[str, type[SharingConv]] = {"formula": SharingConv, "paths": PathConv}
Layer = str | Sequence[Any]
LEAKY: Layer = ("leakyrelu", {"negative_slope": 0.01})


@dataclass(frozen=True)
class BlockStyle:
    """What all blocks of a network have in common.

    Args:
        spatial_dims: 2 or 3.
        groups: the network's groups.
        policy: the network's sampling rule.
        group_init: start of the kernels' group probabilities.
        norm: MONAI norm name with arguments; in the path form every group has its own.
        act: MONAI activation name with arguments; ``prelu`` has a slope for each channel.
        norm_first: norm before the activation, or after it (the paper's VGG-11).
        form: ``"formula"`` or ``"paths"``.
        merge: merge of paths, ``"sum"`` or ``"concat"``; path form only.
        remask_paths: in the path form, zero after the norm what belongs to other paths; ``False`` is paper-literal.
        head_scale: of the tasks' output layers' random start, in units of He's, which is made for layers with an
            activation. A large one decides at first which kernels a task seems to need, and so the groups of the last
            layers (docs/explanation/planted-tasks.md); 0 starts at zero.
    """

    spatial_dims: int
    groups: TaskGroups
    policy: GroupPolicy
    group_init: GroupInit = "default"
    norm: Layer = "instance_channels_last"
    act: Layer = field(default=LEAKY)
    norm_first: bool = True
    form: str = "formula"
    merge: str = "sum"
    remask_paths: bool = True
    head_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {tuple(FORMS)}, got {self.form!r}")

    @property
    def paths(self) -> int:
        """Feature maps between two layers."""
        return len(self.groups) if self.form == "paths" else 1

    def conv(self, into: int, out: int, groups: KernelGroups, *, image: bool = False, **options: Any) -> SharingConv:
        """A convolution in the network's form; ``image`` says that it reads the image, which is not merged."""
        merge: dict[str, Any] = {"merge": self.merge} if self.form == "paths" and not image else {}
        return FORMS[self.form](self.spatial_dims, into, out, groups, **merge, **options)

    def learned_groups(self, kernels: int) -> KernelGroups:
        """Groups for a layer that learns them."""
        return KernelGroups(kernels, self.groups, self.policy, init=self.group_init)

    def make_norm(self, channels: int) -> nn.Module:
        """A norm layer of one path."""
        return get_norm_layer(_layer(self.norm), self.spatial_dims, channels)

    def make_act(self, channels: int) -> nn.Module:
        """An activation; one serves all paths."""
        layer = _layer(self.act)
        name, options = (layer, {}) if isinstance(layer, str) else layer
        if name.lower() == "prelu":
            layer = (name, {"num_parameters": channels, "init": 0.0, **options})
        return get_act_layer(layer)


class SharingBlock(nn.Module):
    """Sharing convolution, norm, activation.

    Args:
        style: what the network's blocks have in common.
        into: input channels.
        out: kernels.
        plain: the convolution only, with a bias.
        options: further arguments of the convolution: ``kernel_size``, ``stride``, ``image``.
    """

    def __init__(self, style: BlockStyle, into: int, out: int, *, plain: bool = False, **options: Any) -> None:
        super().__init__()
        # With a norm there is no bias: it would take the constant away again.
        self.conv: nn.Module = style.conv(into, out, style.learned_groups(out), bias=plain, **options)
        self.remask = style.form == "paths" and style.remask_paths
        self.norm_first = style.norm_first
        self.norms = nn.ModuleList([nn.Identity() if plain else style.make_norm(out) for _ in range(style.paths)])
        self.act: nn.Module = nn.Identity() if plain else style.make_act(out)
        # What a strategy does with the output, such as a cross-stitch unit.
        self.unit: nn.Module = nn.Identity()

    def forward(self, features: Features) -> Features:
        """``(B, C, *spatial)`` to ``(B, K, *spatial / stride)``."""
        features = self.conv(features)
        maps = tuple(self._finish(norm, m) for norm, m in zip(self.norms, features.maps, strict=True))
        features = Features(maps, features.membership)
        return remask(features) if self.remask else features

    def _finish(self, norm: nn.Module, x: Tensor) -> Tensor:
        # Nobody else sees the convolution's output.
        x = norm_then_act(norm, self.act, x, overwrite=True) if self.norm_first else norm(self.act(x))
        return self.unit(x)

    def reorder(self, order: Tensor) -> None:
        """Follow the new order of the convolution's kernels."""
        for module in (*self.norms, self.act):
            reorder(module, order)


class PreActivationBlock(nn.Module):
    """Norm, activation, convolution, of which kernel k keeps to the group of channel k; half of a residual block.

    Args:
        style: what the network's blocks have in common.
        channels: input and output channels.
        dilation: of the convolution.
    """

    def __init__(self, style: BlockStyle, channels: int, dilation: int) -> None:
        super().__init__()
        self.norm = style.make_norm(channels)
        self.act = style.make_act(channels)
        inherited = InheritedGroups(style.groups, style.policy)
        self.conv: nn.Module = style.conv(channels, channels, inherited, dilation=dilation, bias=False)

    def forward(self, features: Features) -> Features:
        """``(B, C, *spatial)`` to the same shape."""
        out: Features = self.conv(features.apply(lambda m: norm_then_act(self.norm, self.act, m)))
        return out

    def reorder(self, order: Tensor) -> None:
        """Follow the new order of the channels, which is that of the kernels."""
        for module in (self.norm, self.act):
            reorder(module, order)


def norm_then_act(norm: nn.Module, act: nn.Module, x: Tensor, *, overwrite: bool = False) -> Tensor:
    """Both layers, in one go where there is a way; ``overwrite`` lets the result take the place of ``x``."""
    if isinstance(norm, InstanceNorm) and isinstance(act, nn.LeakyReLU | nn.ReLU):
        slope = getattr(act, "negative_slope", 0.0)
        return instance_norm_act(x, norm.weight, norm.bias, norm.eps, slope, overwrite=overwrite)
    y: Tensor = act(norm(x))
    return y


def _layer(layer: Layer) -> str | tuple[Any, ...]:
    """MONAI wants a tuple; YAML has lists only."""
    return layer if isinstance(layer, str) else tuple(layer)


def reorder(module: nn.Module, order: Tensor) -> None:
    """Keep the channels ``order`` of the parameters and statistics of a norm or activation, in place."""
    channels = next((t.shape[0] for t in module.state_dict().values() if t.dim() == 1), None)
    for name, value in list(module.state_dict(keep_vars=True).items()):
        if value.dim() == 1 and value.shape[0] == channels:
            kept = value.detach()[order.to(value.device)].clone()
            setattr(module, name, nn.Parameter(kept) if isinstance(value, nn.Parameter) else kept)
    for name in ("num_features", "num_channels", "num_groups", "num_parameters"):
        if hasattr(module, name):
            setattr(module, name, len(order))


@torch.no_grad()
def scale_weights(module: nn.Module, factor: float) -> None:
    """Multiply all parameters of a module, in place."""
    for parameter in module.parameters():
        parameter.mul_(factor)


def check_copies(copies: Sequence[int] | None, stages: int) -> list[int]:
    """How often each stage has its kernels; 1 by default.

    Raises:
        ValueError: for a wrong number of stages or a number below 1.
    """
    values = [1] * stages if copies is None else [int(c) for c in copies]
    if len(values) != stages or min(values) < 1:
        raise ValueError(f"copies needs a positive number for each of {stages} stages, got {copies}")
    return values
