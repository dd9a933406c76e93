# SPDX-License-Identifier: Apache-2.0
"""Small networks of every strategy on every backbone."""

from typing import Any

import torch
from torch import Tensor, nn

from sfg_med.networks import MultiTaskNetwork, build_network
from sfg_med.sharing.compact import CompactConv
from sfg_med.spec import ClassTask, ImageTask, LabelTask, ModelSpec, ValueTask

TINY: dict[str, dict[str, Any]] = {
    "SFGUNet": {"channels": [6, 9], "convs_per_level": 1},
    "SFGVGG": {"channels": [6, 9, 9], "blocks": [1, 1, 1]},
    "SFGHighResNet": {"channels": [6, 9, 6], "dilations": [1, 2, 0]},
}
STAGES = 3  # of all of them


def spec(network: str, strategy: Any, tasks: int = 2, **options: Any) -> ModelSpec:
    """Tasks a, b, c with 1, 2 and 2 output channels."""
    pictures = (ImageTask("a"), LabelTask("b", {"x": 1}), LabelTask("c", {"y": 1}))
    whole = (ValueTask("a"), ClassTask("b"), ClassTask("c"))
    kinds = whole if network == "SFGVGG" else pictures
    about = {"name": network, "spatial_dims": 2, "in_channels": 1, **TINY[network], **options, "strategy": strategy}
    return ModelSpec(tasks=kinds[:tasks], spacing_mm=(1.0, 1.0), patch_size=(16, 16), network=about)


def options_of(name: str, tasks: int) -> dict[str, Any]:
    names = ["a", "b", "c"][:tasks]
    tree = [[names], [names[:1], names[1:]], [[t] for t in names]]
    return {"name": name, **({"tree": tree} if name == "branched" else {})}


def build(network: str, strategy: Any, tasks: int = 2, **options: Any) -> MultiTaskNetwork:
    torch.manual_seed(3)
    if isinstance(strategy, str):
        strategy = options_of(strategy, tasks)
    return build_network(spec(network, strategy, tasks, **options))


def image() -> Tensor:
    return torch.randn(2, 1, 16, 16)


def kernel_counts(net: MultiTaskNetwork) -> dict[str, int]:
    return {n: len(m.assignment) for n, m in net.named_modules() if isinstance(m, CompactConv) and n != "head"}


def numbers(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
