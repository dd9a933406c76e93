# SPDX-License-Identifier: Apache-2.0
"""The networks that the benchmark compares: one MR window in, one CT channel and six organ channels out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sfg_med.errors import SfgMedError
from sfg_med.networks import MultiTaskNetwork, build_network
from sfg_med.spec import ModelSpec

Widths = Sequence[int]
BASELINE, PAIR = "hard sharing", "two PlainConvUNets"


class Drawn(nn.Module):
    """A network whose groups are drawn anew at each pass, as the posterior's passes are.

    Args:
        network: with learned groups.
    """

    def __init__(self, network: MultiTaskNetwork) -> None:
        super().__init__()
        self.network = network
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        """A pass with one draw."""
        with self.network.posterior_draw(self.generator):
            result: Tensor = self.network(x)
            return result


class Pair(nn.Module):
    """Two networks side by side.

    Args:
        first: gives the first output channels.
        second: gives those behind them.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """Both outputs, joined."""
        return torch.cat([self.first(x), self.second(x)], 1)


def backbone(widths: Widths, strategy: Any = "sfg", **options: Any) -> MultiTaskNetwork:
    """The project's U-Net of these channels, untrained: weights do not change what it costs."""
    torch.manual_seed(0)
    network = {"name": "SFGUNet", "channels": list(widths), "strategy": strategy, **options}
    return build_network(ModelSpec(network=network))


def hard_sharing(widths: Widths) -> nn.Module:
    """All kernels serve both tasks, as it would be deployed."""
    return backbone(widths, "hard-sharing").compact()


def drawn(widths: Widths) -> nn.Module:
    """Stochastic filter groups as a pass of the posterior runs them."""
    return Drawn(backbone(widths, policy={"mode": "gumbel", "eval_mode": "gumbel"}))


def compact(widths: Widths, shares: Mapping[str, Mapping[str, float]], *, rounded: bool) -> MultiTaskNetwork:
    """The compact network of given shares.

    Args:
        widths: channels of the levels.
        shares: layer (``encoder.0.0`` ...) to group (``ct``, ``ct+seg``, ``seg``) to its part of the kernels.
        rounded: with the group sizes that ``sfg-med export`` would give it.

    Raises:
        SfgMedError: for a layer or group that the table lacks.
    """
    network = backbone(widths)
    for name, layer in network.sharing_layers().items():
        kernels = len(layer.weight)
        row = shares.get(name.removesuffix(".conv"), {})
        if set(row) != set(network.groups.names):
            expected = f"parts for {', '.join(network.groups.names)}"
            raise SfgMedError(f"shares of {name}", expected, str(dict(row)), "see configs/benchmark_shares.json")
        ends = np.rint(np.cumsum([row[g] for g in network.groups.names]) * kernels).astype(int).tolist()
        sizes = np.diff([0, *ends[:-1], kernels])
        network.set_groups({name: torch.arange(len(sizes)).repeat_interleave(torch.from_numpy(sizes))})
    if rounded:
        network.round_groups()
    return network.compact()


def read_shares(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Named tables of shares.

    Raises:
        SfgMedError: if the file is no JSON mapping.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SfgMedError(
            path, "JSON with tables of shares", str(error), "see configs/benchmark_shares.json"
        ) from error


def basic_unet(widths: Widths) -> nn.Module:
    """MONAI's BasicUNet."""
    from monai.networks.nets.basic_unet import BasicUNet

    return BasicUNet(3, 1, 7, features=(*widths, widths[0]))


def plain_conv_unets(widths: Widths) -> nn.Module:
    """What a user would run instead: nnU-Net's network once for the CT and once for the organs.

    Raises:
        SfgMedError: without the package that has it.
    """
    try:
        from dynamic_network_architectures.architectures.unet import PlainConvUNet
    except ImportError as error:
        raise SfgMedError(
            PAIR,
            "the package dynamic-network-architectures",
            "none",
            "pip install 'sfg-med[benchmark]'",
        ) from error

    def one(channels: int) -> nn.Module:
        return PlainConvUNet(
            1, len(widths), list(widths), nn.Conv3d, 3, [1, *[2] * (len(widths) - 1)], 2, channels, 2, conv_bias=True,
            norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        )  # fmt: skip

    return Pair(one(1), one(6))


def contestants(shares: Path) -> dict[str, Callable[[Widths], nn.Module]]:
    """All networks by name, the baseline first; each is made from its channels."""
    made: dict[str, Callable[[Widths], nn.Module]] = {BASELINE: hard_sharing, "SFG, drawn": drawn}
    for name, table in read_shares(shares).items():
        made[f"SFG, compact, {name}"] = partial(compact, shares=table, rounded=False)
        made[f"SFG, compact, {name}, rounded"] = partial(compact, shares=table, rounded=True)
    return {**made, "BasicUNet": basic_unet, PAIR: plain_conv_unets}
