# SPDX-License-Identifier: Apache-2.0
"""The one formula against the paper's paths, plain networks and the compact form."""

import copy
import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from monai.networks.layers.factories import Norm
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv3d, instance_norm, interpolate, leaky_relu

from sfg_med.networks import SFGUNet
from tests.networks.backbone_networks import assert_same_in_both_forms

TWO = {"ct": 1, "seg": 3}
THREE = {"a": 1, "b": 2, "c": 1}
CASES = [(TWO, "singletons"), (THREE, "singletons"), (THREE, "lattice")]
IDS = ["2-singletons", "3-singletons", "3-lattice"]


def make(
    tasks: Mapping[str, int], groups: str = "singletons", dims: int = 2, width: int = 6, **options: Any
) -> SFGUNet:
    """A small network in double precision with random affine norms, so that equality is not a matter of zeros."""
    torch.manual_seed(5)
    net = SFGUNet(
        dims, 1, tasks, channels=(width, width + 2, width + 4), groups=groups, group_init="dirichlet", **options
    ).double()
    for p in net.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.5)
    return net


def as_paths(net: SFGUNet, tasks: Mapping[str, int], groups: str, dims: int = 2) -> SFGUNet:
    """The same weights in the paper-literal form."""
    paths = make(tasks, groups, dims, form="paths")
    state = net.state_dict()
    paths.load_state_dict({k: state[re.sub(r"norms\.\d+", "norms.0", k)] for k in paths.state_dict()})
    return paths


def image(dims: int = 2, size: int = 12) -> Tensor:
    return torch.randn(2, 1, *([size] * (dims - 1)), size - 3, dtype=torch.double)


def weight_gradients(net: SFGUNet) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, p in net.named_parameters():
        if p.grad is not None and not name.endswith("rho"):
            key = re.sub(r"norms\.\d+", "norms.0", name)
            found[key] = found.get(key, torch.zeros_like(p)) + p.grad
    return found


@pytest.mark.parametrize(("tasks", "groups"), CASES, ids=IDS)
@pytest.mark.parametrize("dims", [2, 3])
def test_one_hot_groups_equal_the_path_form_in_output_and_gradients(
    tasks: dict[str, int], groups: str, dims: int
) -> None:
    net = make(tasks, groups, dims).eval()
    paths = as_paths(net, tasks, groups, dims).eval()
    x = image(dims)
    assert_same_in_both_forms(net, paths, x, weight_gradients)


@pytest.mark.parametrize(("tasks", "groups"), CASES, ids=IDS)
@pytest.mark.parametrize("mode", ["argmax", "gumbel"])
def test_a_loss_gives_exactly_zero_gradient_to_groups_without_its_task(
    tasks: dict[str, int], groups: str, mode: str
) -> None:
    net = make(tasks, groups, width=16, policy={"mode": mode, "hard": True}).train()
    x = image()
    for index, task in enumerate(tasks):
        net.zero_grad()
        draw = net.posterior_draw(torch.Generator().manual_seed(index)) if mode == "gumbel" else nullcontext()
        with draw:
            members = {n: m.kernel_groups(1).argmax(-1) for n, m in net.sharing_layers().items()}
            (net.split(net(x))[task] ** 2).sum().backward()
        reached = 0
        for name, layer in net.sharing_layers().items():
            foreign = ~net.groups.holds[index][members[name]]
            assert foreign.any()
            assert torch.count_nonzero(layer.weight.grad[foreign]) == 0
            reached += int(torch.count_nonzero(layer.weight.grad[~foreign]) > 0)
        assert reached == len(net.sharing_layers())


def plain_unet(state: Mapping[str, Tensor], x: Tensor, levels: int, head: slice) -> Tensor:
    """An ordinary U-Net written out with torch functions, from the state of an SFGUNet."""
    conv, mode = ((conv2d, "bilinear"), (conv3d, "trilinear"))[x.dim() - 4]

    def block(name: str, y: Tensor, stride: int = 1) -> Tensor:
        y = conv(y, state[f"{name}.conv.weight"], stride=stride, padding=1)
        y = instance_norm(y, weight=state[f"{name}.norms.0.weight"], bias=state[f"{name}.norms.0.bias"])
        return leaky_relu(y, 0.01)

    skips = []
    for level in range(levels):
        x = block(f"encoder.{level}.0", x, 1 if level == 0 else 2)
        x = block(f"encoder.{level}.1", x)
        skips.append(x)
    for i, skip in enumerate(skips[-2::-1]):
        up = conv(x, state[f"reduce.{i}.conv.weight"], state[f"reduce.{i}.conv.bias"])
        up = interpolate(up, size=skip.shape[2:], mode=mode, align_corners=False)
        x = block(f"decoder.{i}.1", block(f"decoder.{i}.0", torch.cat((up, skip), 1)))
    return conv(x, state["head.weight"][head], state["head.bias"][head])


@pytest.mark.parametrize("dims", [2, 3])
def test_all_kernels_shared_is_an_ordinary_unet(dims: int) -> None:
    net = make(TWO, dims=dims).eval()
    net.set_groups({n: torch.full_like(a, net.groups.full) for n, a in net.assignments().items()})
    x = image(dims)
    torch.testing.assert_close(net(x), plain_unet(net.state_dict(), x, 3, slice(None)), rtol=1e-9, atol=1e-9)


def test_all_kernels_special_are_separate_networks() -> None:
    """Half of each layer for each task: each half is an ordinary U-Net of its own."""
    net = make(TWO).eval()
    halves = {n: torch.arange(len(a)) % 2 * 2 for n, a in net.assignments().items()}  # groups 0 (ct) and 2 (seg)
    net.set_groups(halves)
    x = image()
    expected = net.split(net(x))
    state = net.state_dict()
    for task, group, head in (("ct", 0, slice(0, 1)), ("seg", 2, slice(1, 4))):
        own = {}
        for key, value in state.items():
            layer = key.rsplit(".", 1)[0]
            layer = re.sub(r"norms\.0$", "conv", layer)
            if layer in halves:
                value = value[halves[layer] == group]
            if key.endswith("conv.weight") and value.shape[1] > 1:  # the inputs of this half
                value = value[:, group // 2 :: 2]
            if key == "head.weight":
                value = value[:, group // 2 :: 2]
            own[key] = value
        torch.testing.assert_close(plain_unet(own, x, 3, head), expected[task], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("tasks", "groups"), CASES, ids=IDS)
@pytest.mark.parametrize("dims", [2, 3])
def test_compact_equals_the_network_with_the_same_hard_groups(tasks: dict[str, int], groups: str, dims: int) -> None:
    net = make(tasks, groups, dims).float().eval()
    x = image(dims).float()
    expected = net(x)
    compact = net.compact()
    scale = expected.abs().max()
    assert (compact(x) - expected).abs().max() <= 1e-5 * scale
    stored = sum(p.numel() for p in compact.parameters())
    assert stored < sum(p.numel() for n, p in net.named_parameters() if not n.endswith("rho"))
    for task, value in net.split(expected).items():
        single = net.compact(task=task)
        assert (single(x) - value).abs().max() <= 1e-5 * scale
        assert sum(p.numel() for p in single.parameters()) < stored
        assert list(single.tasks) == [task]


def test_compact_with_a_layer_that_no_kernel_of_a_task_is_left_in() -> None:
    net = make(TWO).float().eval()
    groups = net.assignments()
    groups["encoder.1.0.conv"] = torch.zeros_like(groups["encoder.1.0.conv"])  # all for ct
    net.set_groups(groups)
    x = image().float()
    expected = net.split(net(x))
    assert (net.compact()(x) - net(x)).abs().max() < 1e-5
    for task in TWO:
        torch.testing.assert_close(net.compact(task)(x), expected[task], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [("batch", {}), ("instance", {"affine": True})])
def test_compact_takes_other_norms_along(norm: tuple) -> None:
    net = make(TWO, norm=norm).float()
    net.train()
    net(image().float())  # batch statistics
    net.eval()
    x = image().float()
    torch.testing.assert_close(net.compact()(x), net(x), rtol=1e-5, atol=1e-5)


def test_own_instance_norm_equals_torch_and_keeps_the_layout() -> None:
    x = torch.randn(3, 4, 5, 6, 7)
    norm = Norm["instance_channels_last", 3](4)
    nn.init.normal_(norm.weight)
    last = x.contiguous(memory_format=torch.channels_last_3d)
    expected = instance_norm(x.double(), weight=norm.weight.double(), bias=norm.bias.double()).float()
    for each in (x, last):
        torch.testing.assert_close(norm(each), expected, rtol=1e-5, atol=1e-5)
    half = norm(last.bfloat16())
    assert half.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(half.float(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.slow
def test_a_whole_window_in_single_precision_is_accurate() -> None:
    net = SFGUNet(3, 1, TWO, channels=(8, 16)).eval()
    x = torch.randn(1, 1, 96, 80, 64)
    with torch.no_grad():
        found, exact = net(x), copy.deepcopy(net).double()(x.double())
        assert (found - exact).abs().max() <= 1e-5 * exact.abs().max()
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x).float()
        assert (half - exact).abs().mean() <= 0.02 * exact.abs().mean()
