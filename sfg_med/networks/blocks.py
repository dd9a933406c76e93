# SPDX-License-Identifier: Apache-2.0
"""Convolution, norm and activation around a sharing convolution, in the one-formula or the path form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai.networks.layers.utils import get_act_layer, get_norm_layer
from torch import Tensor, nn

from sfg_med.networks import norms  # noqa: F401 - registers the norm's name with MONAI
from sfg_med.sharing import Features, GroupPolicy, KernelGroups, PathConv, SharingConv, TaskGroups, remask
from sfg_med.sharing.convolution import Size
from sfg_med.sharing.distribution import GroupInit

FORMS: dict[str, type[SharingConv]] = {"formula": SharingConv, "paths": PathConv}
Layer = str | Sequence[Any]


class SharingBlock(nn.Module):
    """Sharing convolution, norm, activation.

    Args:
        spatial_dims: 2 or 3.
        in_channels: input channels.
        out_channels: kernels.
        groups: the network's groups.
        policy: the network's sampling rule.
        kernel_size: one number or one for each axis.
        stride: one number or one for each axis.
        norm: MONAI norm name with arguments; in the path form every group has its own.
        act: MONAI activation name with arguments; ``None`` for none (and then no norm either).
        form: ``"formula"`` or ``"paths"``.
        remask_paths: in the path form, zero after the norm what belongs to other paths; ``False`` is paper-literal.
        group_init: start of the kernels' group probabilities.
        conv: further arguments of the convolution (``merge`` of the path form).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        groups: TaskGroups,
        policy: GroupPolicy,
        *,
        kernel_size: Size = 3,
        stride: Size = 1,
        norm: Layer = "instance_channels_last",
        act: Layer | None = ("leakyrelu", {"negative_slope": 0.01}),
        form: str = "formula",
        remask_paths: bool = True,
        group_init: GroupInit = "default",
        conv: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form must be one of {tuple(FORMS)}, got {form!r}")
        self.conv: nn.Module = FORMS[form](
            spatial_dims,
            in_channels,
            out_channels,
            KernelGroups(out_channels, groups, policy, init=group_init),
            kernel_size=kernel_size,
            stride=stride,
            bias=act is None,  # a norm would take the constant away again
            **(conv or {}),
        )
        paths = len(groups) if form == "paths" else 1
        self.remask = form == "paths" and remask_paths
        if act is None:
            self.norms = nn.ModuleList([nn.Identity() for _ in range(paths)])
            self.act: nn.Module = nn.Identity()
        else:
            self.norms = nn.ModuleList([get_norm_layer(_layer(norm), spatial_dims, out_channels) for _ in range(paths)])
            self.act = get_act_layer(_layer(act))

    def forward(self, features: Features) -> Features:
        """``(B, C, *spatial)`` to ``(B, K, *spatial / stride)``."""
        features = self.conv(features)
        maps = tuple(self.act(norm(m)) for norm, m in zip(self.norms, features.maps, strict=True))
        features = Features(maps, features.membership)
        return remask(features) if self.remask else features


def _layer(layer: Layer) -> str | tuple[Any, ...]:
    """MONAI wants a tuple; YAML has lists only."""
    return layer if isinstance(layer, str) else tuple(layer)


def reorder_norm(norm: nn.Module, order: Tensor) -> nn.Module:
    """Keep the channels ``order`` of a norm layer's parameters and statistics, in place."""
    channels = next((t.shape[0] for t in norm.state_dict().values() if t.dim() == 1), None)
    for name, value in list(norm.state_dict(keep_vars=True).items()):
        if value.dim() == 1 and value.shape[0] == channels:
            kept = value.detach()[order.to(value.device)].clone()
            setattr(norm, name, nn.Parameter(kept) if isinstance(value, nn.Parameter) else kept)
    for name in ("num_features", "num_channels", "num_groups"):
        if hasattr(norm, name):
            setattr(norm, name, len(order))
    return norm
