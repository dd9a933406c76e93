# SPDX-License-Identifier: Apache-2.0
"""The paper-literal path form: one masked convolution and one feature path for each group."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sfg_med.sharing.convolution import SharingConv
from sfg_med.sharing.features import Features
from sfg_med.sharing.kernel_groups import KernelGroups

MERGES = ("sum", "concat")


class PathConv(SharingConv):
    """Stochastic filter groups as published (Bragman et al. 2019, equations 1 to 4; methods.md 1.1 and 1.2).

    Every path carries all K channels; the channels of other groups are masked. A path reads the merge of all paths
    that its group may read. Costs one convolution for each group.

    Args:
        spatial_dims, in_channels, out_channels, kernel_groups: as in :class:`SharingConv`.
        merge: ``"sum"`` adds the paths (networks without layers between SFG layers); ``"concat"`` concatenates and
            maps back by a 1x1 convolution with bias for each group that reads more than itself.
        options: further arguments of :class:`SharingConv`.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_groups: KernelGroups,
        *,
        merge: str = "sum",
        **options: Any,
    ) -> None:
        super().__init__(spatial_dims, in_channels, out_channels, kernel_groups, **options)
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {MERGES}, got {merge!r}")
        self.sources = [row.nonzero().flatten().tolist() for row in kernel_groups.groups.reads]
        conv = (nn.Conv2d, nn.Conv3d)[spatial_dims - 2]
        self.merges = nn.ModuleDict(
            {
                str(g): conv(len(sources) * in_channels, in_channels, 1)
                for g, sources in enumerate(self.sources)
                if merge == "concat" and len(sources) > 1
            }
        )

    def forward(self, features: Features) -> Features:
        """One map, or one for each group, to one map for each group; each has K channels."""
        out = self.kernel_groups(features.maps[0].shape[0])
        inputs = self._merged(features.maps)
        maps = tuple(self._path(x, out[..., g]) for g, x in enumerate(inputs))
        return Features(maps, out)

    def _merged(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        if len(maps) == 1 and len(self.sources) > 1:  # the image
            return [maps[0]] * len(self.sources)
        return [self._merge(g, [maps[h] for h in sources]) for g, sources in enumerate(self.sources)]

    def _merge(self, group: int, maps: list[Tensor]) -> Tensor:
        if str(group) in self.merges:
            return self.merges[str(group)](torch.cat(maps, dim=1))
        return maps[0] if len(maps) == 1 else torch.stack(maps).sum(0)

    def _path(self, x: Tensor, mask: Tensor) -> Tensor:
        if mask.dim() == 1:
            weight = self.weight * mask[(...,) + (None,) * (self.spatial_dims + 1)]
            return self.convolve(x, weight, None if self.bias is None else self.bias * mask)
        y = self.convolve(x, self.weight, self.bias)
        return y * mask[(...,) + (None,) * self.spatial_dims]


def remask(features: Features) -> Features:
    """Zero the channels that belong to other paths, which a norm layer's bias made non-zero."""
    if features.membership is None:
        return features
    masks = features.membership.unbind(-1)
    maps = tuple(m * mask[(...,) + (None,) * (m.dim() - 2)] for m, mask in zip(features.maps, masks, strict=True))
    return Features(maps, features.membership)
