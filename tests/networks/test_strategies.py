# SPDX-License-Identifier: Apache-2.0
"""Every strategy on every backbone, and each strategy against what it is said to be."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, max_pool2d, prelu

from sfg_med.errors import SfgMedError
from sfg_med.model_file import load_model, save_model
from sfg_med.networks import NETWORKS, MultiTaskNetwork, build_network
from sfg_med.networks.blocks import SharingBlock
from sfg_med.networks.mtan import AttentionNetwork
from sfg_med.networks.strategies import STRATEGIES, apply_masks
from sfg_med.sharing import IDLE, GroupingSchedule, SharingConv, TemperatureSchedule, patterns
from sfg_med.sharing.compact import CompactConv
from sfg_med.sharing.cross_stitch import CrossStitch
from sfg_med.sharing.groups import TaskGroups
from sfg_med.spec import ClassTask, ImageTask, LabelTask, ModelSpec, ValueTask

TINY: dict[str, dict[str, Any]] = {
    "SFGUNet": {"channels": [6, 9], "convs_per_level": 1},
    "SFGVGG": {"channels": [6, 9, 9], "blocks": [1, 1, 1]},
    "SFGHighResNet": {"channels": [6, 9, 6], "dilations": [1, 2, 0]},
}
STAGES = 3  # of all of them
FIXED = ("single-task", "hard-sharing", "constant-mask", "branched")


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


def randomised(net: MultiTaskNetwork) -> MultiTaskNetwork:
    """In double precision, with random scales, shifts, slopes and biases."""
    net = net.double()
    for p in net.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.5)
    return net


def image() -> Tensor:
    return torch.randn(2, 1, 16, 16)


def kernel_counts(net: MultiTaskNetwork) -> dict[str, int]:
    return {n: len(m.assignment) for n, m in net.named_modules() if isinstance(m, CompactConv) and n != "head"}


@pytest.mark.parametrize(("network", "name"), product(NETWORKS, STRATEGIES))
def test_every_strategy_works_on_every_backbone(network: str, name: str, tmp_path: Path) -> None:
    tasks = 3 if name in ("branched", "cross-stitch", "mtan", "random-masks") else 2
    about = spec(network, options_of(name, tasks), tasks)
    net = build(network, name, tasks)
    if name == "constant-p":  # drawn at test time too; compare one of its groups
        net.policy.eval_mode = "argmax"
    x = image()
    output = net.train()(x)
    assert output.shape[1] == sum(about.channels.values())
    assert torch.isfinite(output).all()
    assert len(net.stage_modules) == STAGES
    (output**2).sum().backward()
    trained = [p for p in net.parameters() if p.requires_grad]
    assert sum(bool(p.grad is not None and p.grad.abs().sum() > 0) for p in trained) > len(trained) / 2
    net.eval()
    expected = net(x)
    for compact in (False, *([] if name == "constant-p" else [True])):
        save_model(tmp_path / "model.safetensors", net, about, compact=compact, provenance={})
        model = load_model(tmp_path / "model.safetensors")
        model.network.policy.eval_mode = net.policy.eval_mode
        torch.testing.assert_close(model.network(x), expected, rtol=1e-4, atol=1e-5)
    assert [len(stage) > 0 for stage in net.stage_layers.values()] == [True] * STAGES


@pytest.mark.parametrize(("network", "name"), product(NETWORKS, FIXED))
def test_fixed_patterns_come_compact(network: str, name: str) -> None:
    net = build(network, name, 3)
    assert not any(isinstance(m, SharingConv) for m in net.modules())
    assert any(isinstance(m, CompactConv) for m in net.modules())
    probabilities = net.group_probabilities()
    assert all(set(p.unique().tolist()) <= {0, 1} and torch.equal(p.sum(1), torch.ones(len(p)))
               for p in probabilities.values())  # fmt: skip


@pytest.mark.parametrize(("network", "name"), product(NETWORKS, STRATEGIES))
def test_output_layers_start_at_zero_where_asked(network: str, name: str) -> None:
    x = image()
    assert not build(network, name, zero_head=True)(x).any()
    assert build(network, name)(x).any()


@pytest.mark.parametrize(("network", "name"), product(NETWORKS, FIXED))
def test_one_task_can_be_taken_from_a_fixed_pattern(network: str, name: str) -> None:
    net = build(network, name, 3).double().eval()
    x = image().double()
    expected = net.split(net(x))
    for task in net.tasks:
        single = net.compact(task)
        torch.testing.assert_close(single(x), expected[task], rtol=1e-9, atol=1e-9)
        assert sum(p.numel() for p in single.parameters()) < sum(p.numel() for p in net.parameters())


def test_networks_without_a_compact_form_say_why() -> None:
    with pytest.raises(ValueError, match="drawn from constant probabilities"):
        build("SFGUNet", "constant-p", 2).compact()
    net = build("SFGUNet", "cross-stitch", 2)
    with pytest.raises(ValueError, match="reads all tasks' features"):
        net.compact(next(iter(net.tasks)))


# --- single tasks -----------------------------------------------------------------------------------------------------


def numbers(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("network", "full", "tasks"), product(NETWORKS, (False, True), (2, 3)))
def test_single_task_networks_have_nothing_in_common(network: str, full: bool, tasks: int) -> None:
    net = build(network, {"name": "single-task", "full": full}, tasks)
    x = image()
    trained: list[set[str]] = []
    for task in net.tasks:
        net.zero_grad()
        (net.split(net(x))[task] ** 2).sum().backward()
        for name, module in net.named_modules():
            if isinstance(module, CompactConv) and name != "head":
                own = [net.groups.singleton(task)]
                reached = [g for g, w in zip(module.assignment.unique().tolist(), module.weights, strict=True)
                           if torch.count_nonzero(w.grad)]  # fmt: skip
                assert reached == own, name
        trained.append({n for n, p in net.named_parameters() if ".weights." in n and torch.count_nonzero(p.grad)})
    assert not set.intersection(*trained)
    # Parameters: as many networks of one task, built on their own.
    width = [w if full else w // tasks for w in TINY[network]["channels"]]
    alone = 0
    for index in range(tasks):
        one = spec(network, "hard-sharing", 3, channels=width)
        alone += numbers(build_network(ModelSpec(tasks=one.tasks[index : index + 1], network=one.network)))
    assert numbers(net) == alone


def test_blocks_of_fixed_patterns_start_as_layers_of_their_own() -> None:
    net = build("SFGVGG", "single-task", channels=[64, 64, 64])
    for module in (net.blocks[1][0].conv, net.blocks[2][0].conv):
        for weight in module.weights:
            assert weight.shape == (32, 32, 3, 3)
            assert weight.std().item() == pytest.approx((2 / (1 + 0.01**2) / (32 * 9)) ** 0.5, rel=0.05)


# --- constant masks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernels", "shares", "counts"),
    [
        (9, None, [3, 3, 3]),
        (8, None, [4, 2, 2]),  # all are the largest: the first one
        (10, {"a": 0.25, "a+b": 0.5, "b": 0.25}, [2, 6, 2]),
        (7, {"a": 0.29, "a+b": 0.42, "b": 0.29}, [2, 3, 2]),
        (100, {"a": 0.29, "a+b": 0.42, "b": 0.29}, [29, 42, 29]),  # 0.29 * 100 is 28.999999999999996
        (16, {"a": 0.01, "a+b": 0.98, "b": 0.01}, [0, 16, 0]),
    ],
)
def test_constant_masks_are_floored_and_the_rest_goes_to_the_largest(
    kernels: int, shares: dict[str, float] | None, counts: list[int]
) -> None:
    groups = TaskGroups.make(("a", "b"))
    pattern = patterns.constant_mask(("a", "b"), 2, shares)
    found = pattern.assignment(1, kernels, groups).tolist()
    assert found == [0] * counts[0] + [1] * counts[1] + [2] * counts[2], "task 1, shared, task 2"
    assert pattern.copies == (1, 1)


def test_constant_mask_of_a_network() -> None:
    net = build("SFGVGG", {"name": "constant-mask", "shares": {"a": 0.2, "a+b": 0.5, "b": 0.3}}, channels=[10, 10, 20])
    found = {n: p.sum(0).int().tolist() for n, p in net.group_probabilities().items()}
    assert list(found.values()) == [[2, 5, 3], [2, 5, 3], [4, 10, 6]]
    three = build("SFGVGG", "constant-mask", 3, channels=[8, 8, 9])
    assert three.groups.names == ("a", "a+b+c", "b", "c")
    assert next(iter(three.group_probabilities().values())).sum(0).tolist() == [2, 2, 2, 2]


def test_kernels_that_may_read_nothing_stay_that_way_in_training() -> None:
    """Rounding leaves a layer without shared kernels; those of the next have a bias only, and no door to a task."""
    shares = {"a": 0.4, "a+b": 0.2, "b": 0.4}
    net = build("SFGVGG", {"name": "constant-mask", "shares": shares}, channels=[4, 10, 10])
    assert net.blocks[0][0].conv.assignment.unique().tolist() == [0, 2]
    layer = net.blocks[1][0].conv
    assert layer.assignment.unique().tolist() == [0, 1, 2]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(2):
        (net(image()) ** 2).sum().backward()
        optimizer.step()
    assert torch.count_nonzero(layer.weights[1]) == 0
    assert torch.count_nonzero(layer.weights[0]) > 0


# --- constant p and random masks --------------------------------------------------------------------------------------


def rhos(net: MultiTaskNetwork) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in net.named_parameters() if n.endswith("rho")}


def test_constant_p_is_drawn_to_the_end_and_never_learned() -> None:
    net = build("SFGVGG", "constant-p")
    before = rhos(net)
    assert before
    assert all(torch.allclose(p, torch.full_like(p, 1 / 3)) for p in net.group_probabilities().values())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1, weight_decay=0.1)
    schedule = GroupingSchedule(TemperatureSchedule(1.0, 0.1, 0.1), 2)
    x = image()
    for step in range(4):
        schedule.apply(net.train(), step)
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(p, before[n]) for n, p in rhos(net).items())
    assert not net.groups_are_fixed
    for mode in (True, False):
        assert not torch.equal(net.train(mode)(x), net(x)), "another draw at each pass"
    given = build("SFGVGG", {"name": "constant-p", "p": [0.7, 0.2, 0.1]}).group_probabilities()
    assert all(torch.allclose(p, torch.tensor([0.7, 0.2, 0.1])) for p in given.values())


def test_random_masks_follow_their_plan() -> None:
    net = build("SFGUNet", {"name": "random-masks", "ratio": 0.7, "interval": 10, "seed": 4}, 3)
    assert net.groups.names == ("a", "a+b", "a+b+c", "a+c", "b", "b+c", "c")
    masks = net.roaming
    assert masks is not None
    before = rhos(net)
    found = []
    for iteration in (0, 9, 10, 10_000):
        apply_masks(net, masks, iteration)
        expected = {
            name: masks.assignment(i, len(layer.weight), iteration)
            for i, (name, layer) in enumerate(net.sharing_layers().items())
        }
        assert {n: g.tolist() for n, g in net.assignments().items()} == {n: g.tolist() for n, g in expected.items()}
        found.append([g.tolist() for g in expected.values()])
    assert found[0] == found[1] != found[2]
    (net.train()(image()) ** 2).sum().backward()
    assert all(p.grad is None for n, p in net.named_parameters() if n.endswith("rho"))
    assert before.keys() == rhos(net).keys()


# --- idle kernels -----------------------------------------------------------------------------------------------------


def test_idle_kernels_are_read_by_none_trained_by_none_and_compacted_away() -> None:
    net = randomised(build("SFGUNet", {"name": "sfg", "group_init": "dirichlet"}))
    groups = {n: torch.arange(len(g)) % 4 for n, g in net.assignments().items()}
    net.set_groups({n: torch.where(g == 3, IDLE, g) for n, g in groups.items()})
    x = image().double()
    net.eval()
    expected = net(x)
    expected.square().sum().backward()
    for name, layer in net.sharing_layers().items():
        idle = groups[name] == 3
        assert idle.any()
        assert torch.equal(layer.kernel_groups.probabilities()[idle], torch.zeros(int(idle.sum()), 3))
        assert torch.count_nonzero(layer.weight.grad[idle]) == 0
    compact = net.compact()
    assert kernel_counts(compact) == {n: int((g != 3).sum()) for n, g in groups.items()}
    torch.testing.assert_close(compact(x), expected, rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        for name, layer in net.sharing_layers().items():
            layer.weight[groups[name] == 3] = 1e6
    assert torch.equal(net(x), expected)


def test_equal_parts_leave_kernels_over() -> None:
    net = build("SFGVGG", "single-task", 2, channels=[5, 7, 9])
    assert list(kernel_counts(net).values()) == [4, 6, 8]


# --- branches ---------------------------------------------------------------------------------------------------------


def by_hand(net: MultiTaskNetwork, x: Tensor) -> Tensor:
    """VGG of three stages: all tasks; {a, c} and b; {a}, {c} and b, at full width each."""
    state = dict(net.named_parameters())

    def layer(stage: int, x: Tensor, block: int, channels: slice) -> Tensor:
        """Convolution of one branch, PReLU, batch norm."""
        name = f"blocks.{stage}.0"
        y = conv2d(x, state[f"{name}.conv.weights.{block}"], padding=1)
        y = prelu(y, state[f"{name}.act.weight"][channels])
        mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        scale, shift = (state[f"{name}.norms.0.{p}"][channels][:, None, None] for p in ("weight", "bias"))
        return (y - mean) / (variance + 1e-5).sqrt() * scale + shift

    trunk = max_pool2d(layer(0, x, 0, slice(0, 6)), 2)
    # Groups in order: a, a+c, b, c. Stage 1 has a+c and b; stage 2 a, b and c.
    both, alone = (max_pool2d(layer(1, trunk, i, slice(9 * i, 9 * i + 9)), 2) for i in (0, 1))
    ends = [layer(2, read, i, slice(9 * i, 9 * i + 9)).mean((2, 3)) for i, read in enumerate((both, alone, both))]
    heads = [linear(e, state[f"head.weights.{i}"][:, :, 0, 0], state[f"head.biases.{i}"]) for i, e in enumerate(ends)]
    return torch.cat(heads, 1)


TREE = [[["a", "b", "c"]], [["a", "c"], ["b"]], [["a"], ["b"], ["c"]]]


def test_a_branched_network_is_the_tree_written_by_hand() -> None:
    net = randomised(build("SFGVGG", {"name": "branched", "tree": TREE}, 3))
    assert list(kernel_counts(net).values()) == [6, 18, 27]
    x = image().double()
    torch.testing.assert_close(net(x), by_hand(net, x), rtol=1e-9, atol=1e-9)
    # 6, 2 x 9, 3 x 9 kernels of 9 values, with slope, scale and shift; a row of 9 weights and a bias for each output.
    assert numbers(net) == 6 * (9 + 3) + 18 * (6 * 9 + 3) + 27 * (9 * 9 + 3) + 5 * 10


def test_a_branched_network_may_share_the_kernels_out() -> None:
    net = build("SFGVGG", {"name": "branched", "tree": TREE, "full": False}, 3)
    counts = [p.sum(0).int().tolist() for p in net.group_probabilities().values()]
    assert net.groups.names == ("a", "a+b+c", "a+c", "b", "c")
    assert counts == [[0, 6, 0, 0, 0], [0, 0, 4, 4, 0], [3, 0, 0, 3, 3]]


# --- cross-stitch -----------------------------------------------------------------------------------------------------


def test_a_cross_stitch_unit_by_hand() -> None:
    unit = CrossStitch(2, 2)
    assert unit.alpha.tolist() == [[[0.5, 0.5]] * 2] * 2
    with torch.no_grad():  # alpha[to, from, channel]
        unit.alpha.copy_(torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]))
    x = torch.tensor([1.0, 10.0, 100.0, 1000.0])[None, :, None].repeat(1, 1, 3)
    expected = torch.tensor([1 * 1 + 3 * 100, 2 * 10 + 4 * 1000, 5 * 1 + 7 * 100, 6 * 10 + 8 * 1000.0])
    assert torch.equal(unit(x), expected[None, :, None].repeat(1, 1, 3))
    three = CrossStitch(3, 4, same=0.8)
    torch.testing.assert_close(three.alpha[:, :, 3], torch.full((3, 3), 0.1) + 0.7 * torch.eye(3))
    assert not list(three.named_buffers())


@pytest.mark.parametrize(("network", "tasks"), product(NETWORKS, (2, 3)))
def test_cross_stitch_with_the_identity_is_single_task(network: str, tasks: int) -> None:
    single = randomised(build(network, "single-task", tasks))
    net = build(network, {"name": "cross-stitch", "same": 1.0}, tasks).double()
    left, unknown = net.load_state_dict(single.state_dict(), strict=False)
    assert not unknown
    assert all(n.endswith("unit.alpha") for n in left)
    blocks = [m for m in net.modules() if isinstance(m, SharingBlock) and not isinstance(m.act, nn.Identity)]
    assert len(left) == len(blocks)
    x = image().double()
    torch.testing.assert_close(net(x), single(x), rtol=1e-12, atol=1e-12)
    mixed = build(network, {"name": "cross-stitch", "same": 0.5}, tasks).double()
    mixed.load_state_dict(single.state_dict(), strict=False)
    assert (mixed(x) - single(x)).abs().max() > 1e-3
    mixed.split(mixed(x))["a"].sum().backward()
    first = blocks[0].unit.alpha.shape[2]
    for p in (p for n, p in mixed.named_parameters() if n.endswith("unit.alpha")):
        assert torch.count_nonzero(p.grad) > 0
    weights = next(m for m in mixed.modules() if isinstance(m, CompactConv)).weights
    assert len(weights) == tasks
    assert all(torch.count_nonzero(w.grad) > 0 and len(w) == first for w in weights), "a loss reaches all tasks"


# --- selective sharing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_estimators_start_equal_and_apart(network: str) -> None:
    net = build(network, {"name": "selective-sharing", "estimator_stages": 2}, 3)
    x = image()
    stages = [last.maps[0] for _, last in net.stages(x)]
    owners = [net.assignments()[names[-1]] for names in net.stage_layers.values()]
    assert (owners[0] == net.groups.full).all()
    for maps, owner in zip(stages[1:], owners[1:], strict=True):
        own = [maps[:, owner == net.groups.singleton(t)] for t in net.tasks]
        assert own[0].shape[1] > 0
        assert own[0].abs().max() > 0
        for other in own[1:]:
            torch.testing.assert_close(own[0], other, rtol=1e-5, atol=1e-6)
    fixed = build(network, {"name": "selective-sharing", "estimator_stages": 2, "clusters": [["a", "c"], ["b"]]}, 3)
    assert not any(isinstance(m, SharingConv) for m in fixed.modules())
    present = [set(p.argmax(1).tolist()) for p in fixed.group_probabilities().values()]
    names = [{fixed.groups.names[g] for g in groups} for groups in present]
    assert names[0] == {"a+b+c"}
    assert names[-1] == {"a+c", "b"}


# --- attention --------------------------------------------------------------------------------------------------------


class Constant(nn.Module):
    """A mask that looks at nothing."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, _: Tensor) -> float:
        return self.value


@pytest.mark.parametrize("network", NETWORKS)
def test_attention_is_a_mask_between_0_and_1(network: str) -> None:
    net = build(network, "mtan", 3).double()
    assert isinstance(net, AttentionNetwork)
    masks: list[Tensor] = []
    for stages in net.attention.values():
        for stage in stages:
            stage.mask.register_forward_hook(lambda _, __, out: masks.append(out))
    x = image().double()
    output = net(x)
    assert len(masks) == 3 * STAGES
    assert all(m.min() > 0 and m.max() < 1 and m.std() > 0.01 for m in masks)
    for task, value in net.split(output).items():
        single = net.compact(task)
        torch.testing.assert_close(single(x), value, rtol=1e-12, atol=1e-12)
        assert list(single.tasks) == [task]
        assert numbers(single) < numbers(net)
    net.split(output)["b"].sum().backward()
    for name, p in net.named_parameters():
        if name.startswith(("attention.a", "attention.c", "heads.a", "heads.c")):
            assert p.grad is None or not torch.count_nonzero(p.grad), name
    assert torch.count_nonzero(next(net.trunk.parameters()).grad) > 0


@pytest.mark.parametrize("network", NETWORKS)
def test_with_open_attention_a_task_reads_the_shared_features(network: str) -> None:
    net = build(network, "mtan").double()
    for stages in net.attention.values():
        for stage in stages:
            stage.mask = Constant(1.0)
    x = image().double()
    *_, (_, last) = net.trunk.stages(x)
    for task, found in net.split(net(x)).items():
        features = net.attention[task][-1].after(last.maps[0])
        if network == "SFGVGG":
            features = features.mean((2, 3), keepdim=True)
        expected = net.heads[task](features)
        torch.testing.assert_close(found, expected.flatten(1) if network == "SFGVGG" else expected)
    for stages in net.attention.values():
        stages[-1].mask = Constant(0.0)
    assert torch.equal(net(x), net(x + 1 + torch.rand_like(x))), "nothing comes through"


# --- width ------------------------------------------------------------------------------------------------------------


def test_every_strategy_can_be_widened() -> None:
    net = build("SFGVGG", {"name": "hard-sharing", "width": 1.41}, channels=[8, 16, 32])
    assert list(kernel_counts(net).values()) == [12, 24, 44]  # 11.3, 22.6 and 45.1, in fours
    sizes = [
        numbers(build("SFGVGG", {"name": name, "width": width}, channels=[64, 64, 64]))
        for name, width in (("single-task", 1.41), ("hard-sharing", 1.0))
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
    assert build("SFGVGG", {"name": "sfg", "width": 2}).blocks[0][0].conv.weight.shape[0] == 12


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("sharing", "hard-sharing"),
        ({"nam": "sfg"}, "a strategy among"),
        ({"name": "hard-sharing", "shares": 1}, "shares"),
        ({"name": "branched"}, "tree"),
        ({"name": "branched", "tree": [[["a", "b"]]]}, "3 stages, got 1"),
        ({"name": "branched", "tree": [[["a"]]] * 3}, "would serve b"),
        ({"name": "branched", "tree": [[["a", "b"], ["b"]]] * 3}, "no partition"),
        ({"name": "branched", "tree": [[["a"], ["b"]], [["a", "b"]], [["a", "b"]]]}, "refine"),
        ({"name": "branched", "tree": [[["a", "x"]]] * 3}, "x"),
        ({"name": "selective-sharing", "estimator_stages": 3}, "between 1 and 2"),
        ({"name": "selective-sharing", "clusters": [["a"]]}, "refine|partition|serve b"),
        ({"name": "constant-mask", "shares": {"a": 0.5}}, "sum to 1"),
        ({"name": "constant-mask", "shares": {"a": 1.0}}, "would serve b"),
        ({"name": "constant-mask", "shares": {"a": 0.5, "z": 0.5}}, "z"),
        ({"name": "constant-p", "p": [0.5, 0.5]}, "group_init"),
        ({"name": "random-masks", "ratio": 1.5}, "ratio"),
        ({"name": "random-masks", "interval": 0}, "interval"),
        ({"name": "hard-sharing", "width": "wide"}, "width"),
        ({"name": "hard-sharing", "width": 0}, "width"),
    ],
)
def test_a_mistake_is_one_clear_line(strategy: Any, said: str) -> None:
    with pytest.raises(SfgMedError, match=said) as caught:
        build_network(spec("SFGVGG", strategy))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["single-task", "constant-mask", "cross-stitch"])
def test_too_few_channels_are_refused(name: str) -> None:
    with pytest.raises(SfgMedError, match="none of 2 kernels would serve"):
        build("SFGVGG", name, 3, channels=[2, 9, 9])
