# SPDX-License-Identifier: Apache-2.0
"""VGG-11 and HighResNet: the one formula against the path form, and its merges against hand-written ones."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from sfg_med.networks import MultiTaskNetwork
from sfg_med.sharing import Features, GroupPolicy, KernelGroups, PathConv, TaskGroups
from tests.networks.backbone_networks import GROUP_IDS, GROUPS, TWO, assert_same_in_both_forms, image, make


def common(name: str) -> str:
    """Name of a parameter in the one-formula form: the paths' norms are one there."""
    return re.sub(r"norms\.\d+", "norms.0", name)


def gradients(net: MultiTaskNetwork) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, p in net.named_parameters():
        if p.grad is not None and not name.endswith("rho"):
            found[common(name)] = found.get(common(name), torch.zeros_like(p)) + p.grad
    return found


def assert_same_weights_make_the_same(net: MultiTaskNetwork, paths: MultiTaskNetwork, x: Tensor) -> None:
    state = net.state_dict()
    paths.load_state_dict({k: state[common(k)] for k in paths.state_dict()})
    net.eval(), paths.eval()
    assert_same_in_both_forms(net, paths, x, gradients)


@pytest.mark.parametrize("norm", ["batch_statistics", "instance_channels_last"])
@pytest.mark.parametrize(("tasks", "groups"), GROUPS, ids=GROUP_IDS)
def test_one_hot_groups_equal_the_path_form_in_a_vgg(tasks: dict[str, int], groups: str, norm: str) -> None:
    forms = [make("vgg", tasks, groups, norm=norm, form=form) for form in ("formula", "paths")]
    assert_same_weights_make_the_same(*forms, image("vgg"))


@pytest.mark.parametrize("kind", ["highres-2d", "highres-3d"])
@pytest.mark.parametrize(("tasks", "groups"), GROUPS, ids=GROUP_IDS)
def test_one_hot_groups_equal_the_path_form_in_a_highresnet_without_residual_blocks(
    kind: str, tasks: dict[str, int], groups: str
) -> None:
    """With them the forms differ on purpose: copies for each path, or one set of kernels that keep to their groups."""
    forms = [make(kind, tasks, groups, dilations=(0, 0, 0), form=form) for form in ("formula", "paths")]
    assert_same_weights_make_the_same(*forms, image(kind))


def test_residual_copies_of_the_shared_path_are_the_residual_blocks_if_all_is_shared() -> None:
    """The tasks' own paths are zero then, and stay zero where the norms shift nothing."""
    net, paths = (make("highres-2d", TWO, form=form) for form in ("formula", "paths"))
    for each in (net, paths):
        each.set_groups({n: torch.full_like(a, each.groups.full) for n, a in each.assignments().items()})
    mine = net.state_dict()
    for key in paths.state_dict():
        if key.startswith("residuals") and key.endswith("0.bias"):
            mine[key] = torch.zeros_like(paths.state_dict()[key])
    state = {}
    for key, value in paths.state_dict().items():
        place = re.fullmatch(r"(residuals\.\d+\.\d+)\.copies\.(\d)\.(\d)\.(\d)\.(.*)", key)
        if place is None:
            state[key] = mine[common(key)]
            continue
        block, _, half, part, rest = place.groups()
        name = f"{block}.layers.{half}.{('norm', 'act', 'conv')[int(part)]}.{rest}"
        if part == "0" and rest == "bias":
            mine[name] = torch.zeros_like(value)
        state[key] = mine[name]
    net.load_state_dict({k: mine[k] for k in net.state_dict()})
    paths.load_state_dict(state)
    x = image("highres-2d")
    torch.testing.assert_close(net(x), paths(x), rtol=1e-9, atol=1e-9)


# --- merges against hand-written ones ---------------------------------------------------------------------------------


def path_layer(merge: str) -> tuple[PathConv, tuple[Tensor, ...], list[Tensor]]:
    groups = TaskGroups.make(("a", "b"))
    layer = PathConv(2, 3, 5, KernelGroups(5, groups, GroupPolicy(), init="dirichlet"), merge=merge).double()
    nn.init.normal_(layer.bias)
    layer.kernel_groups.fix(torch.tensor([0, 1, 2, 1, 0]))
    maps = tuple(torch.randn(3, 2, 3, 6, 7, dtype=torch.double))
    return layer, maps, [layer.kernel_groups.assignment == g for g in range(3)]


def test_the_sum_merge_is_what_the_paper_writes() -> None:
    layer, (one, shared, two), kernels = path_layer("sum")
    for found, read, own in zip(
        layer(Features((one, shared, two))).maps, (one + shared, shared, two + shared), kernels, strict=True
    ):
        expected = conv2d(read, layer.weight, layer.bias, padding=1) * own[None, :, None, None]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_concat_merge_is_a_1x1_convolution_with_bias_and_leaves_the_shared_path_alone() -> None:
    layer, (one, shared, two), kernels = path_layer("concat")
    assert set(layer.merges) == {"0", "2"}

    def mapped(group: str, left: Tensor, right: Tensor) -> Tensor:
        merge = layer.merges[group]
        read = torch.cat((left, right), 1).movedim(1, -1)
        return linear(read, merge.weight[:, :, 0, 0], merge.bias).movedim(-1, 1)

    reads = (mapped("0", one, shared), shared, mapped("2", shared, two))
    for found, read, own in zip(layer(Features((one, shared, two))).maps, reads, kernels, strict=True):
        expected = conv2d(read, layer.weight, layer.bias, padding=1) * own[None, :, None, None]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
