# SPDX-License-Identifier: Apache-2.0
"""Groups drawn from constant probabilities, random masks, and kernels without a group."""

import pytest
import torch
from torch import Tensor

from sfg_med.networks import MultiTaskNetwork
from sfg_med.networks.strategies import apply_masks
from sfg_med.sharing import IDLE, GroupingSchedule, TemperatureSchedule
from tests.networks.backbone_networks import randomise
from tests.networks.strategy_networks import build, image, kernel_counts

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


@pytest.mark.parametrize("hard", [True, False])
def test_draws_of_constant_p_are_groups_or_mixtures(hard) -> None:
    net = build("SFGVGG", {"name": "constant-p", "hard": hard}).eval()
    for layer in net.sharing_layers().values():
        membership = layer.kernel_groups(1)
        assert torch.allclose(membership.sum(-1), torch.ones(len(membership)))
        assert torch.equal(membership, membership.round()) == hard


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
    net = randomise(build("SFGUNet", {"name": "sfg", "group_init": "dirichlet"}))
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
