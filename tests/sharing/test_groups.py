# SPDX-License-Identifier: Apache-2.0
from itertools import chain, combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfg_med.sharing import TaskGroups, initial_probabilities


def test_two_tasks_give_the_groups_of_the_paper() -> None:
    groups = TaskGroups.make(("ct", "seg"))
    assert groups.names == ("ct", "ct+seg", "seg")
    # specialists read their own and the shared features, the shared group reads only shared ones (methods.md 1.1)
    assert groups.reads.tolist() == [[True, True, False], [False, True, False], [False, True, True]]


@given(st.integers(1, 5), st.sampled_from(["singletons", "lattice"]))
def test_reading_is_the_subset_relation(tasks: int, pattern: str) -> None:
    groups = TaskGroups.make([f"t{i}" for i in range(tasks)], pattern)
    subsets = chain.from_iterable(combinations(range(tasks), k) for k in range(1, tasks + 1))
    wanted = {s for s in subsets if pattern == "lattice" or len(s) in (1, tasks)}
    assert set(groups.sets) == wanted
    for g, mine in enumerate(groups.sets):
        for h, other in enumerate(groups.sets):
            assert bool(groups.reads[g, h]) == all(t in other for t in mine)


def test_the_start_is_the_papers_and_normalised() -> None:
    groups = TaskGroups.make(("ct", "seg"))
    assert initial_probabilities(groups, 3)[0].tolist() == pytest.approx([0.2, 0.6, 0.2])
    assert initial_probabilities(groups, 3, [0.45, 0.1, 0.45])[2].tolist() == pytest.approx([0.45, 0.1, 0.45])
    drawn = initial_probabilities(groups, 5000, "dirichlet")
    # the mean of a Dirichlet(1, 1, 1) is uniform, its variance 1/18
    torch.testing.assert_close(drawn.mean(0), torch.full((3,), 1 / 3), atol=0.015, rtol=0)
    torch.testing.assert_close(drawn.var(0), torch.full((3,), 1 / 18), atol=0.005, rtol=0)


@pytest.mark.parametrize("bad", [[0.5, 0.5], [0.5, 0.5, 0.5], [1.0, 0.0, 0.0], "half"])
def test_a_start_that_is_no_distribution_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="group"):
        initial_probabilities(TaskGroups.make(("ct", "seg")), 3, bad)  # type: ignore[arg-type]


def test_unknown_pattern_and_duplicate_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="known"):
        TaskGroups.make(("a", "b"), "pairs")
    with pytest.raises(ValueError, match="distinct"):
        TaskGroups.make(("a", "a"))
