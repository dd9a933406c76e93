# SPDX-License-Identifier: Apache-2.0
"""Networks with parts of each task's own: single-task, cross-stitch, selective sharing, MTAN."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from sfg_med.networks import NETWORKS, build_network
from sfg_med.networks.blocks import SharingBlock
from sfg_med.networks.mtan import AttentionNetwork
from sfg_med.sharing import SharingConv
from sfg_med.sharing.compact import CompactConv
from sfg_med.sharing.cross_stitch import CrossStitch
from sfg_med.spec import ModelSpec
from tests.networks.backbone_networks import randomise
from tests.networks.strategy_networks import STAGES, TINY, build, image, numbers, spec

# --- single tasks -----------------------------------------------------------------------------------------------------


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
    single = randomise(build(network, "single-task", tasks))
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
