# SPDX-License-Identifier: Apache-2.0
"""The cheapest tree of branches within a budget of parameters.

Branched Multi-Task Networks (Vandenhende et al., BMVC 2020, arXiv 1904.02920; methods.md section 3). A tree is, for
each point of the network in forward order, a partition of the tasks into clusters that share the block there; each
partition refines the one before, for branches never join again. Behind the last point every task has its own head.
The dissimilarity of two tasks is 1 - affinity.

What is open, and the choice here: among trees of equal cost the one with the fewest parameters wins, then the first
in the order of Python's tuples. The beam compares partial trees as finished in the plainest way (by their cost so far,
branches that leave nothing to spend would win), and keeps its width of them for each number of clusters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import chain, combinations
from typing import NamedTuple

import torch
from torch import Tensor

Cluster = tuple[int, ...]
Partition = tuple[Cluster, ...]
Tree = tuple[Partition, ...]
# (T, T) affinity of one point as lists, which plain Python reads faster than tensors.
Similarity = list[list[float]]
# Sums of the same dissimilarities in another order are equal up to this many decimals.
DECIMALS = 12


def as_partition(clusters: Iterable[Iterable[int]]) -> Partition:
    """Sorted clusters of sorted task indices: one form for each partition."""
    return tuple(sorted(tuple(sorted(cluster)) for cluster in clusters))


def all_trees(tasks: int, points: int) -> Iterator[Tree]:
    """Every tree of this many tasks and points: 315 for 4 tasks and 4 points, 7,556 for 5 and 5."""
    if points == 0:
        yield ()
        return
    for deeper in all_trees(tasks, points - 1):
        start = deeper[0] if deeper else _apart(tasks)
        for partition in _coarser(start, lambda _: 0.0, None):
            yield (partition, *deeper)


def partition_cost(partition: Partition, affinity: Tensor) -> float:
    """Mean over the clusters of the largest dissimilarity inside; 0 for a single task.

    Args:
        partition: clusters of tasks.
        affinity: ``(T, T)`` of this point.
    """
    return _cost(partition, affinity.tolist())


def tree_cost(tree: Tree, affinity: Tensor) -> float:
    """Sum over the points of :func:`partition_cost`; ``affinity`` is ``(D, T, T)``."""
    return sum(partition_cost(partition, here) for partition, here in zip(tree, affinity, strict=True))


def tree_parameters(tree: Tree, block_sizes: Sequence[int]) -> int:
    """Sum over the points of the number of clusters times the size of a block."""
    return sum(len(partition) * size for partition, size in zip(tree, block_sizes, strict=True))


def search(affinity: Tensor, block_sizes: Sequence[int], budget: int, beam: int | None = None) -> Tree:
    """The tree of lowest cost with at most ``budget`` parameters.

    Builds trees from the deepest point outwards, where clusters may only merge, and drops a partial tree as soon as
    it exceeds the budget even if all tasks share everything before it.

    Args:
        affinity: ``(D, T, T)``, points in forward order (see :func:`sfg_med.sharing.affinity.affinities`).
        block_sizes: parameters of one copy of the block at each point.
        budget: the largest number of parameters, heads not counted.
        beam: partial trees (and merged partitions) kept at each point for each number of clusters; ``None`` tries all
            trees, which is meant for up to five tasks.

    Returns:
        For each point a sorted tuple of clusters, each a sorted tuple of task indices.

    Raises:
        ValueError: if no tree is within the budget, or for shapes and values that make no sense.
    """
    _check(affinity, block_sizes, budget, beam)
    return _Search(affinity.tolist(), tuple(block_sizes), budget, beam).best()


class _Partial(NamedTuple):
    """A tree from some point to the end; its order is the order of preference."""

    cost: float
    parameters: int
    tree: Tree


class _Search:
    def __init__(self, affinity: list[Similarity], sizes: tuple[int, ...], budget: int, beam: int | None) -> None:
        self.sizes, self.budget, self.beam = sizes, budget, beam
        # Many partial trees meet the same partitions.
        self.costs = [cache(partial(_cost, similarity=similarity)) for similarity in affinity]
        self.apart = _apart(len(affinity[0]))

    def best(self) -> Tree:
        trees = [_Partial(0.0, 0, ())]
        for point in reversed(range(len(self.sizes))):
            trees = self.narrow([grown for tree in trees for grown in self.grow(tree, point)], point)
        return min(trees).tree

    def grow(self, tree: _Partial, point: int) -> Iterator[_Partial]:
        """The trees that begin one point earlier and can still be finished within the budget."""
        for partition in _coarser(tree.tree[0] if tree.tree else self.apart, self.costs[point], self.beam):
            grown = self.extend(tree, partition, point)
            if grown.parameters <= self.room(point):
                yield grown

    def extend(self, tree: _Partial, partition: Partition, point: int) -> _Partial:
        cost = round(tree.cost + self.costs[point](partition), DECIMALS)
        return _Partial(cost, tree.parameters + len(partition) * self.sizes[point], (partition, *tree.tree))

    def room(self, point: int) -> int:
        """What may be spent from this point to the end."""
        return self.budget - sum(self.sizes[:point])

    def narrow(self, trees: list[_Partial], point: int) -> list[_Partial]:
        if self.beam is None:
            return trees
        kept: list[_Partial] = []
        used: Counter[int] = Counter()
        for tree in sorted(trees, key=lambda tree: self.prospect(tree, point)):
            clusters = len(tree.tree[0])
            if used[clusters] < self.beam:
                kept.append(tree)
            used[clusters] += 1
        return kept

    def prospect(self, tree: _Partial, point: int) -> _Partial:
        """The tree finished in the plainest way: its first partition as far as the budget goes, then all shared."""
        together = (tuple(sorted(chain(*self.apart))),)
        for earlier in reversed(range(point)):
            kept = self.extend(tree, tree.tree[0], earlier)
            tree = kept if kept.parameters <= self.room(earlier) else self.extend(tree, together, earlier)
        return tree


def _coarser(partition: Partition, rank: Callable[[Partition], float], beam: int | None) -> Iterator[Partition]:
    """This partition and what merging makes of it, one merge at a time, the ``beam`` of lowest rank going on."""
    level = [partition]
    while level:
        yield from level
        merged = {_merge(p, a, b) for p in level for a, b in combinations(range(len(p)), 2)}
        level = sorted(merged, key=lambda p: (round(rank(p), DECIMALS), p))[:beam]


def _merge(partition: Partition, first: int, second: int) -> Partition:
    rest = [cluster for i, cluster in enumerate(partition) if i not in (first, second)]
    return as_partition([*rest, partition[first] + partition[second]])


def _apart(tasks: int) -> Partition:
    return tuple((task,) for task in range(tasks))


def _cost(partition: Partition, similarity: Similarity) -> float:
    worst = [max((1 - similarity[i][j] for i, j in combinations(c, 2)), default=0.0) for c in partition]
    return sum(worst) / len(worst)


def _check(affinity: Tensor, block_sizes: Sequence[int], budget: int, beam: int | None) -> None:
    points = len(block_sizes)
    if affinity.dim() != 3 or affinity.shape[0] != points or affinity.shape[1] != affinity.shape[2]:
        raise ValueError(f"expected an affinity of shape ({points}, T, T), found {tuple(affinity.shape)}")
    if points == 0 or affinity.shape[1] == 0 or min(block_sizes) < 0:
        raise ValueError("expected at least one point, one task and block sizes that are not negative")
    if not affinity.isfinite().all() or not torch.allclose(affinity, affinity.mT):
        raise ValueError("an affinity is symmetric and finite")
    if beam is not None and beam < 1:
        raise ValueError(f"a beam is at least 1 wide, got {beam}")
    smallest = sum(block_sizes)
    if budget < smallest:
        raise ValueError(
            f"no tree has at most {budget} parameters; the smallest, in which all tasks share all, has {smallest}"
        )
