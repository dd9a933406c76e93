# SPDX-License-Identifier: Apache-2.0
"""What flows between sharing layers: feature maps and the groups of their channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Features(NamedTuple):
    """Feature maps between two sharing layers.

    The one-formula form has one map, the path form one for each group, each with all K channels; ``membership`` is
    the ``(K, G)`` or ``(B, K, G)`` matrix of the channels. The input image, which all groups read, has none.

    Attributes:
        maps: tensors ``(B, K, *spatial)``.
        membership: groups of the channels, or ``None``.
    """

    maps: tuple[Tensor, ...]
    membership: Tensor | None = None

    def apply(self, function: Callable[[Tensor], Tensor]) -> Features:
        """Apply a channel-wise operation (pooling, interpolation) to every map."""
        return Features(tuple(function(m) for m in self.maps), self.membership)


def concatenate(first: Features, second: Features) -> Features:
    """Concatenate channels; the memberships follow their channels (skip connections)."""
    maps = tuple(torch.cat(pair, dim=1) for pair in zip(first.maps, second.maps, strict=True))
    if first.membership is None or second.membership is None:
        return Features(maps)
    a, b = first.membership, second.membership
    # A head or a fixed layer has one membership for the batch; a per-sample draw has one for each sample.
    if a.dim() != b.dim():
        batch = (a if a.dim() == 3 else b).shape[0]
        a, b = (m if m.dim() == 3 else m.expand(batch, *m.shape) for m in (a, b))
    return Features(maps, torch.cat((a, b), dim=-2))
