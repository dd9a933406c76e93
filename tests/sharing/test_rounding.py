# SPDX-License-Identifier: Apache-2.0
"""Rounded group sizes: multiples, nobody vanishes, and the cheapest moves of all."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfg_med.networks import SFGUNet
from sfg_med.sharing.kernel_groups import IDLE
from sfg_med.sharing.rounding import MOST_MOVED, MULTIPLES, round_groups


def _drawn(kernels: int, groups: int, seed: int) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.softmax(2 * torch.randn(kernels, groups, generator=numbers), -1)


@given(st.integers(1, 160), st.integers(2, 4), st.integers(0, 10**6))
def test_sizes_are_multiples_or_stay(kernels: int, groups: int, seed: int) -> None:
    p = _drawn(kernels, groups, seed)
    before = p.argmax(-1)
    after = round_groups(before, p)
    counts, former = (torch.bincount(a, minlength=groups) for a in (after, before))
    moved = int((after != before).sum())
    assert moved <= MOST_MOVED * kernels
    assert ((counts > 0) == (former > 0)).all()
    if moved:
        assert any(int((counts % m > 0).sum()) <= 1 for m in MULTIPLES)


@pytest.mark.parametrize("seed", range(8))
def test_the_least_certain_kernels_move(seed: int) -> None:
    """Against all assignments of a small layer."""
    p = _drawn(9, 3, seed)
    before = p.argmax(-1)
    log, rows = p.double().log(), torch.arange(9)

    def cost(choice: torch.Tensor) -> float:
        return float((log[rows, before] - log[rows, choice]).sum())

    present = set(before.tolist())
    ways = [torch.tensor(way) for way in product(sorted(present), repeat=9)]
    counts = torch.bincount(before, minlength=3)
    # each size goes to the next multiple, up or down, and no group vanishes
    sizes = [(w, torch.bincount(w, minlength=3)) for w in ways]
    allowed = [
        w for w, n in sizes if (n % 3 == 0).all() and ((n > 0) == (counts > 0)).all() and ((n - counts).abs() < 3).all()
    ]
    after = round_groups(before, p, multiples=(3,), most=1.0)
    expected = min(map(cost, allowed)) if allowed else 0.0
    assert cost(after) == pytest.approx(expected)


def test_idle_kernels_stay_idle_and_do_not_count() -> None:
    p = _drawn(40, 3, 0)
    before = p.argmax(-1)
    before[5:13] = IDLE
    after = round_groups(before, p)
    assert ((after == IDLE) == (before == IDLE)).all()
    assert (torch.bincount(after[after != IDLE]) % 8 == 0).all() or torch.equal(after, before)


@pytest.mark.parametrize("counts", [(7, 22, 3), (1, 31, 0)])
def test_a_layer_that_would_change_much_keeps_its_groups(counts: tuple[int, ...]) -> None:
    before = torch.arange(3).repeat_interleave(torch.tensor(counts))
    assert torch.equal(round_groups(before, _drawn(32, 3, 0)), before)


def test_a_network_rounds_all_its_layers() -> None:
    network = SFGUNet(2, channels=(8, 64, 128), group_init="dirichlet")
    before = network.assignments()
    moved = network.round_groups()
    after = network.assignments()
    assert all((layer.kernel_groups.assignment >= 0).all() for layer in network.sharing_layers().values())
    assert moved == sum(int((after[n] != before[n]).sum()) for n in before) > 0
    wide = [a for a in after.values() if len(a) >= 64]
    assert all((torch.bincount(a, minlength=3) % 8 == 0).all() for a in wide)
