# SPDX-License-Identifier: Apache-2.0
"""VGG-11 and HighResNet: published sizes, routing, plain networks as special cases, compact form, variances."""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, conv3d, linear, max_pool2d, prelu

from sfg_med.networks import SFGVGG, MultiTaskNetwork, SFGHighResNet, build_network
from sfg_med.sharing import Features, GroupPolicy, KernelGroups, PathConv, SharingConv, TaskGroups
from sfg_med.sharing.compact import CompactConv
from sfg_med.spec import ClassTask, ModelSpec, ValueTask

TWO = {"a": 1, "b": 2}
THREE = {"a": 1, "b": 2, "c": 1}
GROUPS = [(TWO, "singletons"), (THREE, "singletons"), (THREE, "lattice")]
GROUP_IDS = ["2-singletons", "3-singletons", "3-lattice"]
CONVS = {2: conv2d, 3: conv3d}
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


def conv_weights(net: nn.Module, but: str = "head") -> int:
    """Weights of all convolutions wider than 1x1, compact or not."""
    layers = {n: p for n, p in net.named_parameters() if p.dim() > 2 and not n.startswith(but)}
    return sum(p.numel() for p in layers.values() if p.shape[-1] > 1)


# --- sizes (methods.md 1.8 and 1.9) -----------------------------------------------------------------------------------


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


# --- routing ----------------------------------------------------------------------------------------------------------


def common(name: str) -> str:
    """Name of a parameter in the one-formula form: the paths' norms are one there."""
    return re.sub(r"norms\.\d+", "norms.0", name)


def gradients(net: MultiTaskNetwork) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, p in net.named_parameters():
        if p.grad is not None and not name.endswith("rho"):
            found[common(name)] = found.get(common(name), torch.zeros_like(p)) + p.grad
    return found


def assert_same_in_both_forms(net: MultiTaskNetwork, paths: MultiTaskNetwork, x: Tensor) -> None:
    state = net.state_dict()
    paths.load_state_dict({k: state[common(k)] for k in paths.state_dict()})
    net.eval(), paths.eval()
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


@pytest.mark.parametrize("norm", ["batch_statistics", "instance_channels_last"])
@pytest.mark.parametrize(("tasks", "groups"), GROUPS, ids=GROUP_IDS)
def test_one_hot_groups_equal_the_path_form_in_a_vgg(tasks: dict[str, int], groups: str, norm: str) -> None:
    forms = [make("vgg", tasks, groups, norm=norm, form=form) for form in ("formula", "paths")]
    assert_same_in_both_forms(*forms, image("vgg"))


@pytest.mark.parametrize("kind", ["highres-2d", "highres-3d"])
@pytest.mark.parametrize(("tasks", "groups"), GROUPS, ids=GROUP_IDS)
def test_one_hot_groups_equal_the_path_form_in_a_highresnet_without_residual_blocks(
    kind: str, tasks: dict[str, int], groups: str
) -> None:
    """With them the forms differ on purpose: copies for each path, or one set of kernels that keep to their groups."""
    forms = [make(kind, tasks, groups, dilations=(0, 0, 0), form=form) for form in ("formula", "paths")]
    assert_same_in_both_forms(*forms, image(kind))


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


def reached(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(torch.count_nonzero(gradient))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tasks", "groups"), GROUPS, ids=GROUP_IDS)
@pytest.mark.parametrize(
    "form",
    [{}, {"form": "paths"}, {"form": "paths", "merge": "concat", "remask_paths": False}],
    ids=["formula", "paths", "paper"],
)
def test_a_loss_gives_exactly_zero_gradient_to_groups_without_its_task(
    kind: str, tasks: dict[str, int], groups: str, form: dict[str, Any]
) -> None:
    net = of_all_groups(kind, tasks, groups, **form)
    x = image(kind)
    for index, task in enumerate(tasks):
        net.zero_grad()
        (net.split(net(x))[task] ** 2).sum().backward()
        holds = net.groups.holds[index]
        for name, layer in net.named_modules():
            if isinstance(layer, SharingConv) and layer.kernel_groups.distribution is not None:
                foreign = ~holds[layer.kernel_groups.decided()]
                assert foreign.any()
                assert torch.count_nonzero(layer.weight.grad[foreign]) == 0, name
                assert reached(layer.weight.grad[~foreign]), name
        for name, p in net.named_parameters():  # what belongs to a path as a whole
            path = re.search(r"\.(?:copies|merges)\.(\d+)\.", name)
            if path and not holds[int(path[1])]:
                assert not reached(p.grad), name
            elif path and name.endswith("weight") and p.dim() > 1 and not name.startswith("head"):
                assert reached(p.grad), name


def test_kernels_of_a_residual_block_keep_to_the_groups_of_their_channels() -> None:
    net = of_all_groups("highres-2d", THREE, "lattice")
    x = image("highres-2d")
    for index, task in enumerate(THREE):
        net.zero_grad()
        net.split(net(x))[task].sum().backward()
        for stage in (0, 1):
            foreign = ~net.groups.holds[index][net.assignments()[f"convs.{stage}.conv"]]
            for block in net.residuals[stage]:
                for layer in block.layers:
                    assert torch.count_nonzero(layer.conv.weight.grad[foreign]) == 0
                    assert torch.count_nonzero(layer.conv.weight.grad[~foreign]) > 0
                    assert torch.count_nonzero(layer.norm.weight.grad[foreign]) == 0
    assert set(net.assignments()) == {f"convs.{i}.conv" for i in range(3)}, "residual blocks learn nothing"


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


# --- special cases: plain networks ------------------------------------------------------------------------------------


def norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return batch_norm(x, None, None, state[f"{name}.weight"], state[f"{name}.bias"], training=True)


def plain_vgg(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Convolution, PReLU, batch norm; pooling before all blocks but the first."""
    for block, count in enumerate(VGG["blocks"]):
        x = max_pool2d(x, 2) if block else x
        for i in range(count):
            name = f"blocks.{block}.{i}"
            x = conv2d(x, state[f"{name}.conv.weight"], padding=1)
            x = norm(state, f"{name}.norms.0", prelu(x, state[f"{name}.act.weight"]))
    return linear(x.mean((2, 3)), state["head.weight"][:, :, 0, 0], state["head.bias"])


def plain_highresnet(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Convolution, batch norm, PReLU; behind it twice (twice batch norm, PReLU, dilated convolution) and the sum."""
    conv = CONVS[x.dim() - 2]
    for i, dilation in enumerate(HIGHRES["dilations"]):
        x = norm(state, f"convs.{i}.norms.0", conv(x, state[f"convs.{i}.conv.weight"], padding=1))
        x = prelu(x, state[f"convs.{i}.act.weight"])
        for block in range(2 if dilation else 0):
            change = x
            for half in range(2):
                name = f"residuals.{i}.{block}.layers.{half}"
                change = prelu(norm(state, f"{name}.norm", change), state[f"{name}.act.weight"])
                change = conv(change, state[f"{name}.conv.weight"], padding=dilation, dilation=dilation)
            x = x + change
    return conv(x, state["head.weight"], state["head.bias"])


PLAIN: dict[str, Callable[[Mapping[str, Tensor], Tensor], Tensor]] = {
    "vgg": plain_vgg,
    "highres-2d": plain_highresnet,
    "highres-3d": plain_highresnet,
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kernels_shared_is_the_ordinary_network(kind: str) -> None:
    net = make(kind, TWO).eval()
    net.set_groups({n: torch.full_like(a, net.groups.full) for n, a in net.assignments().items()})
    x = image(kind)
    torch.testing.assert_close(net(x), PLAIN[kind](net.state_dict(), x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_all_kernels_special_are_separate_networks(kind: str) -> None:
    """Every second kernel of each layer for each task: each half is an ordinary network of its own."""
    net = make(kind, TWO).eval()
    net.set_groups({n: torch.arange(len(a)) % 2 * 2 for n, a in net.assignments().items()})  # groups 0 (a) and 2 (b)
    x = image(kind)
    expected = net.split(net(x))
    for half, (task, head) in enumerate({"a": slice(0, 1), "b": slice(1, 3)}.items()):
        own = {}
        for key, value in net.state_dict().items():
            if key.startswith("head"):
                own[key] = value[head, half::2] if value.dim() > 1 else value[head]
            elif value.dim() <= 1:
                own[key] = value[half::2]
            elif not key.endswith("rho"):
                own[key] = value[half::2] if value.shape[1] == 3 else value[half::2, half::2]
        torch.testing.assert_close(PLAIN[kind](own, x), expected[task], rtol=1e-9, atol=1e-9)


# --- compact form, batch statistics, variances ------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tasks", "groups"), GROUPS, ids=GROUP_IDS)
def test_compact_equals_the_network_with_the_same_hard_groups(
    kind: str, tasks: dict[str, int], groups: str, variance: bool
) -> None:
    net = make(kind, tasks, groups, variance=variance).eval()
    x = image(kind)
    expected = net(x)
    compact = net.compact()
    torch.testing.assert_close(compact(x), expected, rtol=1e-9, atol=1e-9)
    stored = sum(p.numel() for p in compact.parameters())
    assert stored < sum(p.numel() for n, p in net.named_parameters() if not n.endswith("rho"))
    values = net.split(expected)
    for task in tasks:
        single = net.compact(task=task)
        wanted = {k: v for k, v in values.items() if k.removesuffix("_log_variance") == task}
        found = single.split(single(x))
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
        assert sum(p.numel() for p in single.parameters()) < stored


def test_compact_residual_blocks_have_the_groups_of_the_convolution_before() -> None:
    compact = make("highres-2d", THREE, "lattice").compact()
    for stage in (0, 1):
        own = compact.convs[stage].conv.assignment
        assert all(a <= b for a, b in pairwise(own.tolist())), "sorted by group"
        for block in compact.residuals[stage]:
            assert all(torch.equal(layer.conv.assignment, own) for layer in block.layers)
    assert list(compact.group_probabilities()) == [f"convs.{i}.conv" for i in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_batch_statistics_count_at_test_time_too(kind: str) -> None:
    net = make(kind, TWO, policy={"mode": "argmax"})
    x = image(kind)
    trained = net.train()(x)
    assert torch.equal(net.eval()(x), trained)
    assert (net(x[:1]) - trained[:1]).abs().max() > 1e-3, "another batch, another output"
    assert not any("running" in name for name in net.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_log_variances_come_last_and_train_their_tasks_kernels_only(kind: str) -> None:
    net = of_all_groups(kind, THREE, variance=True)
    x = image(kind)
    output = net(x)
    assert output.shape[1] == 4 + 3
    parts = net.split(output)
    assert list(parts) == ["a", "b", "c", "a_log_variance", "b_log_variance", "c_log_variance"]
    assert torch.equal(parts["b"], output[:, 1:3])
    assert torch.equal(parts["a_log_variance"], output[:, 4:5])
    assert torch.equal(parts["c_log_variance"], output[:, 6:7])
    for index, task in enumerate(THREE):
        net.zero_grad()
        net.split(net(x))[f"{task}_log_variance"].sum().backward()
        for name, layer in net.sharing_layers().items():
            foreign = ~net.groups.holds[index][net.assignments()[name]]
            assert torch.count_nonzero(layer.weight.grad[foreign]) == 0
            assert torch.count_nonzero(layer.weight.grad[~foreign]) > 0
        rows = net.head.weight.grad.flatten(1).abs().sum(1).nonzero().flatten().tolist()
        assert rows == [4 + index]


@pytest.mark.parametrize(
    ("make_wrong", "said"),
    [
        (lambda: SFGVGG(channels=(4, 4, 4), blocks=(1, 1)), "blocks"),
        (lambda: SFGHighResNet(channels=(4, 4), dilations=(1,)), "dilations"),
        (lambda: SFGVGG(channels=(4, 4), blocks=(1, 1), copies=(1,)), "copies"),
        (lambda: SFGHighResNet(channels=(4, 4), dilations=(1, 0), copies=(1, 0)), "copies"),
        (lambda: SFGVGG(form="route"), "form"),
        (lambda: SFGVGG(form="paths", merge="mean", channels=(4, 4), blocks=(1, 1)), "merge"),
    ],
)
def test_arguments_that_do_not_fit_are_named(make_wrong: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_wrong()
