# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sfg_med.sharing import branching
from sfg_med.sharing.branching import Tree, all_trees, partition_cost, search, tree_cost, tree_parameters

APART, PAIR, ALL = ((0,), (1,), (2,)), ((0, 1), (2,)), ((0, 1, 2),)


def random_affinity(points: int, tasks: int, seed: int, steps: int = 0) -> Tensor:
    """Symmetric, between 0 and 1; with ``steps`` on a coarse grid, so that many trees cost the same."""
    draws = torch.rand(points, tasks, tasks, generator=torch.Generator().manual_seed(seed)).double()
    if steps:
        draws = (draws * steps).round() / steps
    upper = draws.triu(1)
    return upper + upper.mT + torch.eye(tasks).double()


def every_tree(tasks: int, points: int) -> list[Tree]:
    """The trees by another way: all labellings of the tasks, all products over the points, kept if they refine."""
    labels = product(range(tasks), repeat=tasks)
    found = {tuple(sorted(tuple(t for t in range(tasks) if label[t] == v) for v in set(label))) for label in labels}
    chains = product(sorted(found), repeat=points)
    return [c for c in chains if all(refines(b, a) for a, b in pairwise(c))]


def refines(deeper: tuple[tuple[int, ...], ...], before: tuple[tuple[int, ...], ...]) -> bool:
    return all(any(set(cluster) <= set(other) for other in before) for cluster in deeper)


@pytest.mark.parametrize(("tasks", "points", "count"), [(1, 4, 1), (2, 4, 5), (3, 1, 5), (3, 2, 12), (4, 1, 15)])
def test_all_trees_are_the_refining_sequences_of_partitions(tasks: int, points: int, count: int) -> None:
    trees = list(all_trees(tasks, points))
    assert len(trees) == len(set(trees)) == count  # two tasks split at one of D + 1 places; Bell numbers for one point
    assert sorted(trees) == sorted(every_tree(tasks, points))


def test_numbers_of_trees_that_the_docstring_names() -> None:
    assert sum(1 for _ in all_trees(4, 4)) == 315
    assert sum(1 for _ in all_trees(5, 5)) == 7556


def test_cost_and_parameters_by_hand() -> None:
    first = torch.tensor([[1.0, 0.9, 0.6], [0.9, 1.0, 0.8], [0.6, 0.8, 1.0]])
    second = torch.tensor([[1.0, 0.5, -0.2], [0.5, 1.0, 0.1], [-0.2, 0.1, 1.0]])
    assert partition_cost(ALL, first) == pytest.approx(0.4)  # the largest of 0.1, 0.4, 0.2
    assert partition_cost(PAIR, first) == pytest.approx(0.05)  # the mean of 0.1 and 0
    assert partition_cost(APART, second) == 0
    affinity = torch.stack([first, second])
    assert tree_cost((ALL, PAIR), affinity) == pytest.approx(0.4 + 0.25)
    assert tree_cost((PAIR, APART), affinity) == pytest.approx(0.05)
    assert tree_parameters((ALL, PAIR), [10, 100]) == 210
    assert tree_parameters((PAIR, APART), [10, 100]) == 320
    # within 210 the second point has two clusters at most and the first one: (ALL, ALL) costs 1.6, (ALL, PAIR) 0.65,
    # the two other pairs 0.4 + 0.45 and 0.4 + 0.6
    assert search(affinity, [10, 100], 210) == (ALL, PAIR)
    # with 220 the first point may split too
    assert search(affinity, [10, 100], 220) == (PAIR, PAIR)
    assert search(affinity, [10, 100], 110) == (ALL, ALL)
    assert search(affinity, [10, 100], 330) == (APART, APART)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("beam", [None, 1000])
@pytest.mark.parametrize(("tasks", "points"), [(2, 6), (3, 4), (4, 3)])
def test_search_finds_the_best_of_all_trees(tasks: int, points: int, beam: int | None, steps: int) -> None:
    sizes = [3 + 2 * d for d in range(points)]
    trees = every_tree(tasks, points)
    for seed, budget in product(range(3), [sum(sizes), int(1.5 * sum(sizes)), 2 * sum(sizes), tasks * sum(sizes)]):
        affinity = random_affinity(points, tasks, seed, steps)
        ranked = [(round(tree_cost(t, affinity), 10), tree_parameters(t, sizes), t) for t in trees]
        best = min(r for r in ranked if r[1] <= budget)
        found = search(affinity, sizes, budget, beam)
        assert (round(tree_cost(found, affinity), 10), tree_parameters(found, sizes), found) == best


@settings(max_examples=50, deadline=None)
@given(
    tasks=st.integers(1, 6),
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=5),
    room=st.floats(0, 1),
    beam=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_a_found_tree_refines_itself_and_fits(tasks: int, sizes: list[int], room: float, beam: int, seed: int) -> None:
    smallest = sum(sizes)
    budget = smallest + int(room * (tasks - 1) * smallest)
    affinity = random_affinity(len(sizes), tasks, seed)
    tree = search(affinity, sizes, budget, beam)
    assert tree_parameters(tree, sizes) <= budget
    assert len(tree) == len(sizes)
    for partition in tree:
        assert sorted(t for cluster in partition for t in cluster) == list(range(tasks))
        assert partition == tuple(sorted(tuple(sorted(cluster)) for cluster in partition))
    assert all(refines(b, a) for a, b in pairwise(tree))
    if budget == smallest and min(sizes) > 0:
        assert tree == ((tuple(range(tasks)),),) * len(sizes)
    if budget == tasks * smallest:
        assert tree_cost(tree, affinity) == 0


def test_a_narrow_beam_is_close_to_the_best_tree() -> None:
    excess = []
    for seed in range(10):
        # affinity falls with depth, as it does between real tasks
        affinity = 1 - torch.cumsum(1 - random_affinity(5, 5, seed), 0) / 5
        best = tree_cost(search(affinity, [10] * 5, 150), affinity)
        excess.append(tree_cost(search(affinity, [10] * 5, 150, beam=3), affinity) / best - 1)
    assert min(excess) >= -1e-12
    assert 0 < sum(excess) / len(excess) < 0.02


def test_equal_costs_go_to_the_fewest_parameters() -> None:
    # all tasks alike everywhere: sharing everything costs nothing, as do all other trees
    assert search(torch.ones(3, 3, 3), [1, 2, 3], 18) == (ALL, ALL, ALL)
    # tasks alike at the first point only
    affinity = torch.stack([torch.ones(3, 3), torch.eye(3)])
    assert search(affinity, [1, 2], 9) == (ALL, APART)


def test_planted_branches_are_found() -> None:
    # 0 and 1 stay alike to the end, 2 and 3 leave after the second point and part at the last
    alike = torch.full((4, 4), 0.95)
    halves = torch.full((4, 4), 0.1)
    halves[:2, :2] = halves[2:, 2:] = 0.9
    last = torch.full((4, 4), 0.1)
    last[:2, :2] = 0.9
    affinity = torch.stack([alike, alike, halves, last])
    affinity.diagonal(dim1=1, dim2=2).fill_(1)
    both, three = ((0, 1), (2, 3)), ((0, 1), (2,), (3,))
    assert search(affinity, [10] * 4, 70) == (((0, 1, 2, 3),), ((0, 1, 2, 3),), both, three)
    assert search(affinity, [10] * 4, 70, beam=2) == (((0, 1, 2, 3),), ((0, 1, 2, 3),), both, three)


def test_a_budget_below_the_smallest_tree_is_refused_with_its_size() -> None:
    with pytest.raises(ValueError, match=r"at most 29 parameters.*has 30"):
        search(torch.ones(2, 3, 3), [10, 20], 29)


@pytest.mark.parametrize(
    ("affinity", "sizes", "beam"),
    [
        (torch.ones(2, 3, 3), [1], None),
        (torch.ones(3, 3), [1, 1, 1], None),
        (torch.full((1, 2, 2), torch.nan), [1], None),
        (torch.tensor([[[1.0, 0.2], [0.4, 1.0]]]), [1], None),
        (torch.ones(1, 2, 2), [-1], None),
        (torch.ones(1, 2, 2), [1], 0),
    ],
)
def test_nonsense_is_refused(affinity: Tensor, sizes: list[int], beam: int | None) -> None:
    with pytest.raises(ValueError, match=r"expected|symmetric and finite|beam"):
        search(affinity, sizes, 100, beam)


def test_as_partition_has_one_form() -> None:
    assert branching.as_partition([[2], {1, 0}]) == ((0, 1), (2,))
