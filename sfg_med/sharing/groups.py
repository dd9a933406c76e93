# SPDX-License-Identifier: Apache-2.0
"""Groups of tasks and the subset rule that says which group may read which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

PATTERNS = ("singletons", "lattice")
Pattern = str | Iterable[Iterable[str]]


@dataclass(frozen=True)
class TaskGroups:
    """The groups that kernels can belong to: non-empty sets of tasks.

    The kernels of group S are trained by exactly the losses of the tasks in S. Group S may read the features of
    group S' if and only if S is a subset of S': reading sends the gradients of all tasks in S back into S'.

    Args:
        tasks: task names, in the order of the network's outputs.
        sets: the groups as sorted tuples of task indices; every singleton must be among them (the heads need it).

    Example:
        >>> TaskGroups.make(("ct", "seg")).names
        ('ct', 'ct+seg', 'seg')
    """

    tasks: tuple[str, ...]
    sets: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks must be distinct names, got {self.tasks}")
        missing = [t for i, t in enumerate(self.tasks) if (i,) not in self.sets]
        if missing:
            raise ValueError(f"every task needs a group of its own, missing for {missing}")

    @classmethod
    def make(cls, tasks: Iterable[str], pattern: Pattern = "singletons") -> TaskGroups:
        """Build the groups of a pattern, ordered so that for two tasks they read ``(a, a+b, b)``.

        Args:
            tasks: task names.
            pattern: ``"singletons"`` for the T singletons and the full set (SFG, ICCV 2019), ``"lattice"`` for all
                2^T - 1 non-empty sets, or the sets themselves, as task names; the singletons are always added.

        Raises:
            ValueError: for an unknown pattern or task.
        """
        names = tuple(tasks)
        if not isinstance(pattern, str):
            unknown = {t for s in pattern for t in s} - set(names)
            if unknown:
                raise ValueError(f"groups hold tasks among {names}, got {sorted(unknown)}")
            given = {tuple(sorted(names.index(t) for t in s)) for s in pattern if s}
            return cls(names, tuple(sorted(given | {(t,) for t in range(len(names))})))
        sizes: Sequence[int]
        if pattern == "singletons":
            sizes = sorted({1, len(names)})
        elif pattern == "lattice":
            sizes = range(1, len(names) + 1)
        else:
            raise ValueError(f"unknown pattern of groups {pattern!r}; known: {PATTERNS}")
        sets = sorted(s for size in sizes for s in combinations(range(len(names)), size))
        return cls(names, tuple(sets))

    def __len__(self) -> int:
        return len(self.sets)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Group names, such as ``"ct+seg"``."""
        return tuple("+".join(self.tasks[t] for t in s) for s in self.sets)

    @cached_property
    def reads(self) -> Tensor:
        """``(G, G)`` bool: ``reads[g, h]`` is true if group g may read group h."""
        return torch.tensor([[set(s) <= set(h) for h in self.sets] for s in self.sets])

    @cached_property
    def holds(self) -> Tensor:
        """``(T, G)`` bool: ``holds[t, g]`` is true if task t is in group g."""
        return torch.tensor([[t in s for s in self.sets] for t in range(len(self.tasks))])

    @property
    def full(self) -> int:
        """Index of the group of all tasks.

        Raises:
            ValueError: if no group holds all tasks.
        """
        return self.sets.index(tuple(range(len(self.tasks))))

    def index(self, tasks: Iterable[str]) -> int:
        """Index of the group of exactly these tasks.

        Raises:
            ValueError: if there is none.
        """
        return self.sets.index(tuple(sorted(self.tasks.index(t) for t in tasks)))

    def singleton(self, task: str) -> int:
        """Index of the group that holds only this task."""
        return self.sets.index((self.tasks.index(task),))
