# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfg_med.sharing import IDLE, KernelGroups, RoamingMasks, TaskGroups
from sfg_med.sharing.roaming import _trajectory
from sfg_med.sharing.sampling import GroupPolicy


def lattice(tasks: int) -> TaskGroups:
    return TaskGroups.make([f"t{i}" for i in range(tasks)], "lattice")


def masks_of(groups: TaskGroups, assignment: Tensor) -> np.ndarray:
    """``(T, K)``: which kernels serve which task, read from the groups' names' definition."""
    return np.array(
        [[g != IDLE and t in groups.sets[g] for g in assignment.tolist()] for t in range(len(groups.tasks))]
    )


cases = {
    "tasks": st.integers(1, 4),
    "kernels": st.integers(1, 24),
    "percent": st.integers(5, 100),
    "seed": st.integers(0, 1000),
}


@settings(deadline=None)
@given(**cases)
def test_at_first_every_kernel_serves_and_every_task_has_its_share(
    tasks: int, kernels: int, percent: int, seed: int
) -> None:
    groups = lattice(tasks)
    found = RoamingMasks(groups, percent / 100, seed=seed).assignment(3, kernels, 0)
    assert found.shape == (kernels,)
    assert found.dtype == torch.long
    masks = masks_of(groups, found)
    assert masks.any(0).all()
    share, covering = max(1, percent * kernels // 100), -(-kernels // tasks)
    for size in masks.sum(1):
        assert share <= size <= max(share, covering)


def test_shares_are_rounded_down_but_not_by_the_floats_error() -> None:
    groups = lattice(2)
    for ratio, kernels, size in [(0.5, 64, 32), (0.6, 5, 3), (0.7, 10, 7), (0.29 + 0.5, 100, 79), (0.55, 10, 5)]:
        masks = masks_of(groups, RoamingMasks(groups, ratio).assignment(0, kernels, 0))
        assert masks.sum(1).tolist() == [size, size]
    # 0.29 * 100 is 28.999999999999996; four tasks cover 100 kernels with 25 each
    groups = lattice(4)
    assert masks_of(groups, RoamingMasks(groups, 0.29).assignment(0, 100, 0)).sum(1).tolist() == [29] * 4


@settings(max_examples=40, deadline=None)
@given(**cases)
def test_kernels_roam_until_each_has_served_each_task(tasks: int, kernels: int, percent: int, seed: int) -> None:
    groups, interval = lattice(tasks), 7
    roaming = RoamingMasks(groups, percent / 100, interval, seed)
    end = roaming.settled_at(kernels)
    steps = [masks_of(groups, roaming.assignment(0, kernels, i)) for i in range(0, end + 2 * interval, interval)]
    served = np.logical_or.accumulate(steps)
    for before, after, seen in zip(steps[:-1], steps[1:], served[:-1], strict=True):
        for task in range(tasks):
            left = before[task] & ~after[task]
            entered = after[task] & ~before[task]
            # one out, one in, and the one that enters has never served the task
            assert left.sum() == entered.sum() == (0 if seen[task].all() else 1)
            assert not seen[task][entered].any()
    assert served[-1].all()
    # not before the end
    assert end == 0 or not np.any(steps[: end // interval], axis=0).all()
    assert (steps[-1] == steps[-2]).all()


def test_updates_come_at_the_interval_and_last_to_the_next() -> None:
    roaming = RoamingMasks(lattice(2), 0.5, interval=10)
    at = [roaming.assignment(0, 16, i).tolist() for i in range(40)]
    changes = [i for i in range(1, 40) if at[i] != at[i - 1]]
    assert changes == [10, 20, 30]


def test_without_an_interval_nothing_ever_changes() -> None:
    fixed = RoamingMasks(lattice(3), 0.5, None, seed=4)
    assert torch.equal(fixed.assignment(1, 32, 0), fixed.assignment(1, 32, 10**6))
    assert torch.equal(fixed.assignment(1, 32, 0), RoamingMasks(lattice(3), 0.5, 5, seed=4).assignment(1, 32, 0))
    assert fixed.settled_at(32) == 0


def test_the_assignment_is_a_pure_function() -> None:
    roaming = RoamingMasks(lattice(3), 0.4, interval=3, seed=2)
    forward = [roaming.assignment(layer, 20, i).clone() for layer in range(3) for i in range(0, 60, 3)]
    _trajectory.cache_clear()
    # backwards, with another layer and another seed in between, and what it returned written over
    resumed = RoamingMasks(lattice(3), 0.4, interval=3, seed=2)
    backward = []
    for layer in reversed(range(3)):
        for i in reversed(range(0, 60, 3)):
            RoamingMasks(lattice(3), 0.4, interval=3, seed=9).assignment(layer, 20, i).fill_(0)
            found = resumed.assignment(layer, 20, i)
            backward.append(found.clone())
            found.fill_(0)
    assert all(torch.equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))


def test_layers_and_seeds_draw_independently() -> None:
    groups = lattice(2)
    draws = [RoamingMasks(groups, seed=s).assignment(layer, 64, 0) for s in range(3) for layer in range(3)]
    assert len({tuple(d.tolist()) for d in draws}) == 9


def test_first_masks_are_spread_evenly() -> None:
    groups = lattice(2)
    masks = np.stack([masks_of(groups, RoamingMasks(groups, 0.75, seed=s).assignment(0, 8, 0)) for s in range(800)])
    # 6 of 8 kernels each, so 4 of 8 serve both; no kernel is favoured (five standard errors)
    assert (masks.sum(2) == 6).all()
    assert np.abs(masks.mean(0) - 0.75).max() < 5 * np.sqrt(0.75 * 0.25 / 800)
    assert masks.all(1).sum(1).tolist() == [4] * 800


def test_a_whole_share_is_hard_sharing() -> None:
    groups = lattice(3)
    roaming = RoamingMasks(groups, 1.0, interval=1)
    assert roaming.assignment(0, 12, 5).tolist() == [groups.full] * 12
    assert roaming.settled_at(12) == 0


def test_layers_take_the_assignments() -> None:
    groups = lattice(2)
    layer = KernelGroups(16, groups, GroupPolicy())
    roaming = RoamingMasks(groups, 0.5, interval=1)
    for iteration in range(12):
        assignment = roaming.assignment(0, 16, iteration)
        layer.fix(assignment)
        assert torch.equal(layer.decided(), assignment)
    assert (assignment == IDLE).any()  # roaming may leave kernels without a task


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="all sets"):
        RoamingMasks(TaskGroups.make(("a", "b", "c")))
    with pytest.raises(ValueError, match="ratio"):
        RoamingMasks(lattice(2), 0)
    with pytest.raises(ValueError, match="interval"):
        RoamingMasks(lattice(2), 0.5, 0)
