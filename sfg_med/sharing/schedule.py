# SPDX-License-Identifier: Apache-2.0
"""What the grouping does at which training iteration. Pure functions of the iteration, so a resumed run agrees."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

from sfg_med.sharing.fixing import Reserve
from sfg_med.sharing.sampling import GroupPolicy


class Groupable(Protocol):
    """What a schedule needs of a network."""

    policy: GroupPolicy

    def freeze_groups(self, reserve: Reserve) -> None:
        """Fix every kernel to its likeliest group, as far as every task has its reserve."""


@dataclass(frozen=True)
class TemperatureSchedule:
    """Exponential decay of the temperature: ``max(floor, start * exp(-rate * t))``, t the training iteration.

    The paper uses rate 1e-5 and floor 0.1 over 200,000 iterations (methods.md 1.4); a rate of 0 keeps it constant.
    """

    start: float = 1.0
    rate: float = 1e-5
    floor: float = 0.1

    def __call__(self, iteration: int) -> float:
        """Temperature at this iteration."""
        return max(self.floor, self.start * math.exp(-self.rate * iteration))

    @classmethod
    def reaching(cls, floor: float, iteration: int, start: float = 1.0) -> TemperatureSchedule:
        """The decay that meets ``floor`` at ``iteration``: the paper's shape for runs of any length."""
        return cls(start, math.log(start / floor) / max(iteration, 1), floor)


@dataclass(frozen=True)
class GroupingSchedule:
    """Temperature by iteration and the iteration from which the groups are fixed.

    Args:
        temperature: temperature by iteration.
        freeze_at: from this iteration on every kernel stays in its likeliest group and training goes on with the
            network that will be deployed; ``None`` never freezes.
        reserve: what every task has of each layer's kernels when the groups are fixed.
    """

    temperature: TemperatureSchedule
    freeze_at: int | None = None
    reserve: Reserve = field(default_factory=Reserve)

    def apply(self, network: Groupable, iteration: int) -> None:
        """Set the network up for training iteration ``iteration`` (counted from 0)."""
        network.policy.temperature = self.temperature(iteration)
        if self.freeze_at is not None and iteration >= self.freeze_at:
            network.freeze_groups(self.reserve)
