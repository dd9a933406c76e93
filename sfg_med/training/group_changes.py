# SPDX-License-Identifier: Apache-2.0
"""Strategies that change the kernels' groups while training, apart from learning them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ignite.engine import Engine, Events

from sfg_med.losses import JointLoss
from sfg_med.networks import MultiTaskNetwork
from sfg_med.networks.strategies import apply_masks
from sfg_med.training.selective import SelectiveSharing


class GroupChanges(Protocol):
    """A handler with a state."""

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


class NoChanges:
    """The groups are what the network makes of them."""

    def attach(self, engine: Engine) -> None:
        """Nothing to do."""

    def state_dict(self) -> dict[str, Any]:
        """No state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """No state."""


class RoamingHandler(NoChanges):
    """Random masks that roam: a function of the iteration, so there is nothing to remember.

    Args:
        network: from :func:`sfg_med.networks.strategies.random_masks`.
    """

    def __init__(self, network: MultiTaskNetwork) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the masks of the iteration that starts."""
        masks, done = self.network.roaming, engine.state.iteration - 1
        if masks is not None and masks.interval is not None and done % masks.interval == 0:
            apply_masks(self.network, masks, done)


def group_changes(
    strategy: str | Mapping[str, Any], network: MultiTaskNetwork, loss: JointLoss, steps: int
) -> GroupChanges:
    """What a strategy does to the groups while training.

    Args:
        strategy: name, or name and options.
        network: its network.
        loss: the training loss.
        steps: iterations of the run.
    """
    options: dict[str, Any] = {"name": strategy} if isinstance(strategy, str) else dict(strategy)
    name = options.pop("name")
    if name == "selective-sharing" and options.pop("clusters", None) is None:
        search = {k: v for k, v in options.items() if k not in ("estimator_stages", "width")}
        return SelectiveSharing(network, loss, steps, **search)
    return RoamingHandler(network) if network.roaming is not None else NoChanges()
