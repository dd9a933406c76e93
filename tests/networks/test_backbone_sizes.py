# SPDX-License-Identifier: Apache-2.0
"""VGG-11 and HighResNet have the published sizes (methods.md 1.8 and 1.9)."""

import pytest
from torch import nn

from sfg_med.networks import SFGVGG, SFGHighResNet, build_network
from sfg_med.sharing.compact import CompactConv
from sfg_med.spec import ClassTask, ModelSpec, ValueTask


def conv_weights(net: nn.Module, but: str = "head") -> int:
    """Weights of all convolutions wider than 1x1, compact or not."""
    layers = {n: p for n, p in net.named_parameters() if p.dim() > 2 and not n.startswith(but)}
    return sum(p.numel() for p in layers.values() if p.shape[-1] > 1)


def test_vgg_has_the_published_sizes() -> None:
    net, concat = SFGVGG(), SFGVGG(form="paths", merge="concat")
    assert conv_weights(net) == 9_217_728
    assert sum(p.numel() for n, p in net.named_parameters() if n.endswith("rho")) == 8_256
    paths = {n: p.numel() for n, p in concat.named_parameters()}
    merges = sum(n for name, n in paths.items() if ".merges." in name)
    # Four times ("own", "shared" into each task's path) the squares of 2,752 input channels, and biases; head included.
    assert merges == 4 * (64**2 + 128**2 + 2 * 256**2 + 4 * 512**2) + 2 * 2752 == 4_806_016
    assert sum(n for name, n in paths.items() if name.endswith("conv.weight")) == 9_217_728
    assert net.head.weight.numel() + net.head.bias.numel() == 3 * 512 + 3


def test_highresnet_has_the_published_sizes() -> None:
    net, paths = SFGHighResNet(), SFGHighResNet(form="paths")
    assert len(net.sharing_layers()) == 5
    for each in (net, paths):
        assert sum(layer.weight.numel() for layer in each.sharing_layers().values()) == 96_912
    assert conv_weights(net) == 96_912 + 193_536
    assert conv_weights(paths) == 677_520


@pytest.mark.parametrize(
    ("name", "tasks", "each"),
    [("SFGVGG", (ValueTask(), ClassTask()), 2_304_864), ("SFGHighResNet", ModelSpec().tasks, 72_648)],
)
def test_single_task_networks_of_half_width_have_the_published_sizes(name: str, tasks: tuple, each: int) -> None:
    spec = ModelSpec(tasks=tasks, network={"name": name, "spatial_dims": 2, "strategy": "single-task"})
    net = build_network(spec)
    layers = {n: m for n, m in net.named_modules() if isinstance(m, CompactConv) and n != "head"}
    for task in range(2):
        assert sum(m.weights[task].numel() for m in layers.values()) == each
    assert conv_weights(net) == 2 * each
