# SPDX-License-Identifier: Apache-2.0
"""Fixing groups: the likeliest ones, as far as every task keeps something for itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfg_med.networks import SFGUNet
from sfg_med.sharing.fixing import Reserve, fixed_groups
from sfg_med.sharing.groups import TaskGroups
from sfg_med.sharing.kernel_groups import IDLE, KernelGroups
from sfg_med.sharing.sampling import GroupPolicy

TWO = TaskGroups.make(["ct", "seg"], "singletons")
LATTICE = TaskGroups.make(["a", "b", "c"], "lattice")


def likelihood(p: torch.Tensor, chosen: torch.Tensor) -> float:
    return float(p.log().gather(-1, chosen[:, None]).sum())


@given(st.integers(0, 10**6), st.integers(4, 6), st.sampled_from([0.0, 0.2, 0.3]), st.sampled_from([0.0, 0.5, 0.7]))
@settings(max_examples=40, deadline=None)
def test_no_other_choice_with_every_tasks_reserve_is_likelier(
    seed: int, kernels: int, own: float, usable: float
) -> None:
    torch.manual_seed(seed)
    p = torch.distributions.Dirichlet(torch.full((3,), 0.5)).sample((kernels,)).double().clamp_min(1e-6)
    chosen = fixed_groups(p, TWO, Reserve(own, usable))
    alone = [TWO.singleton("ct"), TWO.singleton("seg")]
    quota = math.ceil(own * kernels)
    most = kernels - min(math.ceil(usable * kernels), kernels - quota)  # for the other task alone

    def allowed(choice: Sequence[int]) -> bool:
        return all(quota <= choice.count(g) <= most for g in alone)

    ways = [likelihood(p, torch.tensor(way)) for way in product(range(3), repeat=kernels) if allowed(way)]
    assert allowed(chosen.tolist())
    assert likelihood(p, chosen) == pytest.approx(max(ways), abs=1e-9)


def test_more_tasks_and_groups() -> None:
    p = torch.distributions.Dirichlet(torch.full((len(LATTICE),), 0.3)).sample((60,))
    p[:, LATTICE.singleton("a")] += 2.0
    chosen = fixed_groups(p / p.sum(-1, keepdim=True), LATTICE, Reserve(0.1, 0.6))
    for index, task in enumerate(LATTICE.tasks):
        assert int((chosen == LATTICE.singleton(task)).sum()) >= 6
        assert int(LATTICE.holds[index][chosen].sum()) >= 36


def test_without_a_group_of_all_tasks_they_keep_what_is_possible() -> None:
    groups = TaskGroups.make(["a", "b", "c"], [])  # singletons only
    chosen = fixed_groups(torch.tensor([[0.8, 0.1, 0.1]] * 9), groups, Reserve(0.2, 0.9))
    assert torch.bincount(chosen).tolist() == [5, 2, 2]


def test_nothing_moves_where_every_task_has_enough() -> None:
    p = torch.distributions.Dirichlet(torch.ones(len(LATTICE))).sample((40,))
    torch.testing.assert_close(fixed_groups(p, LATTICE), p.argmax(-1))


def test_where_kernels_are_few_every_task_gets_as_many() -> None:
    p = torch.tensor([[0.98, 0.01, 0.01]] * 5)
    chosen = fixed_groups(p, TWO, Reserve(0.5)).tolist()
    assert [chosen.count(TWO.singleton(task)) >= 2 for task in TWO.tasks] == [True, True]
    assert fixed_groups(torch.full((2, 7), 1 / 7), LATTICE, Reserve(0.5)).shape == (2,)


def test_idle_and_fixed_kernels_stay() -> None:
    layer = KernelGroups(8, TWO, GroupPolicy(), init="uniform")
    layer.fix(torch.tensor([IDLE, 1, -1, -1, -1, -1, -1, -1]))
    with torch.no_grad():
        layer.distribution.rho[:, 1] += 3.0
    layer.freeze(Reserve(0.25))
    assert layer.assignment[:2].tolist() == [IDLE, 1]
    assert all(int((layer.assignment == TWO.singleton(t)).sum()) >= 2 for t in TWO.tasks)


def test_a_task_is_not_cut_off_from_the_image() -> None:
    """By their likeliest groups alone, the last layer's shared kernels would read nothing."""
    torch.manual_seed(0)
    network = SFGUNet(2, 1, {"ct": 1, "seg": 2}, channels=(8, 8), group_init="uniform").eval()
    layers = network.sharing_layers()
    with torch.no_grad():
        layers["decoder.0.0.conv"].kernel_groups.distribution.rho[:, network.groups.singleton("seg")] += 3.0
        layers["decoder.0.1.conv"].kernel_groups.distribution.rho[:, network.groups.full] += 3.0
    x = torch.randn(1, 1, 16, 16)
    reached = []
    for own in (0.0, 0.125):
        for layer in layers.values():
            layer.kernel_groups.assignment.fill_(-1)
        network.freeze_groups(Reserve(own))
        ct = network.split(network(x))["ct"].detach()
        reached.append(float((ct - ct.mean()).abs().max()) > 1e-4)
    assert reached == [False, True]
