# SPDX-License-Identifier: Apache-2.0
"""Small VGGs and HighResNets, in double precision and with nothing left at zero."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sfg_med.networks import SFGVGG, MultiTaskNetwork, SFGHighResNet

TWO = {"a": 1, "b": 2}
THREE = {"a": 1, "b": 2, "c": 1}
GROUPS = [(TWO, "singletons"), (THREE, "singletons"), (THREE, "lattice")]
GROUP_IDS = ["2-singletons", "3-singletons", "3-lattice"]
# Small networks with everything that the published ones have: several convolutions a block, dilated residual blocks.
VGG: dict[str, Any] = {"channels": (6, 6, 8, 8, 8), "blocks": (1, 1, 2, 1)}
HIGHRES: dict[str, Any] = {"channels": (6, 8, 6), "dilations": (1, 2, 0)}
KINDS = {
    "vgg": lambda tasks, **o: SFGVGG(2, 3, tasks, **{**VGG, **o}),
    "highres-2d": lambda tasks, **o: SFGHighResNet(2, 3, tasks, **{**HIGHRES, **o}),
    "highres-3d": lambda tasks, **o: SFGHighResNet(3, 3, tasks, **{**HIGHRES, **o}),
}


def randomise(net: MultiTaskNetwork) -> MultiTaskNetwork:
    """Double precision and random scales, shifts, slopes and biases, so that equality is not a matter of zeros."""
    net = net.double()
    for p in net.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.5)
    return net


def assert_same_in_both_forms(
    net: MultiTaskNetwork, paths: MultiTaskNetwork, x: Tensor, gradients: Callable[[nn.Module], dict[str, Tensor]]
) -> None:
    """Same outputs, and for the loss of each task and of all the same gradients under common names."""
    assert net(x).abs().max() > 0.1
    torch.testing.assert_close(net(x), paths(x), rtol=1e-9, atol=1e-9)
    for losses in [*([t] for t in net.tasks), list(net.tasks)]:
        for each in (net, paths):
            each.zero_grad()
            outputs = each.split(each(x))
            sum((outputs[t] ** 3).sum() for t in losses).backward()
        expected, found = gradients(paths), gradients(net)
        assert expected.keys() == found.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


def make(kind: str, tasks: Mapping[str, int], groups: str = "singletons", **options: Any) -> MultiTaskNetwork:
    torch.manual_seed(5)
    return randomise(KINDS[kind](tasks, groups=groups, **{"group_init": "dirichlet", **options}))


def image(kind: str) -> Tensor:
    return torch.randn(2, 3, *([3, 5, 4] if kind == "highres-3d" else [16, 24]), dtype=torch.double)


def of_all_groups(kind: str, tasks: Mapping[str, int], groups: str = "singletons", **options: Any) -> MultiTaskNetwork:
    """With a kernel of every group in each layer."""
    width = (8,) * len((VGG if kind == "vgg" else HIGHRES)["channels"])
    net = make(kind, tasks, groups, channels=width, **options)
    net.set_groups({n: torch.arange(8) % len(net.groups) for n in net.assignments()})
    return net
