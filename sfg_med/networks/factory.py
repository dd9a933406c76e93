# SPDX-License-Identifier: Apache-2.0
"""From a model specification to its network; only networks named here can come out of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sfg_med.errors import SfgMedError
from sfg_med.networks.highresnet import SFGHighResNet
from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.networks.strategies import STRATEGIES
from sfg_med.networks.unet import SFGUNet
from sfg_med.networks.vgg import SFGVGG
from sfg_med.spec import ModelSpec

NETWORKS: dict[str, type[MultiTaskNetwork]] = {"SFGUNet": SFGUNet, "SFGVGG": SFGVGG, "SFGHighResNet": SFGHighResNet}


def build_network(spec: ModelSpec, where: str = "network") -> MultiTaskNetwork:
    """Build the untrained network of a specification.

    Args:
        spec: ``spec.network`` holds the backbone's ``name``, its keyword arguments and ``strategy``, a name in
            :data:`STRATEGIES` or a mapping of name and options (``sfg`` by default); ``spec.tasks`` are the tasks.
            The option ``width`` of any strategy multiplies the backbone's ``channels``.
        where: named in errors.

    Raises:
        SfgMedError: for an unknown network or strategy, or arguments that do not fit it.
    """
    options = dict(spec.network)
    name = options.pop("name", "SFGUNet")
    chosen = options.pop("strategy", None) or "sfg"
    strategy: dict[str, Any] = {"name": chosen} if isinstance(chosen, str) else dict(chosen)
    kind = strategy.pop("name", None)
    options |= _widened(options, strategy.pop("width", 1.0), where)
    if name not in NETWORKS:
        raise SfgMedError(where, f"a network among {', '.join(NETWORKS)}", repr(name), "correct the name")
    if kind not in STRATEGIES:
        raise SfgMedError(where, f"a strategy among {', '.join(STRATEGIES)}", repr(kind), "correct its name")

    def backbone(**more: Any) -> MultiTaskNetwork:
        policy = {**(options.get("policy") or {}), **more.get("policy", {})}
        return NETWORKS[name](tasks=spec.channels, **{**options, **more, "policy": policy})

    try:
        return STRATEGIES[kind](backbone, **strategy)
    except (TypeError, ValueError, KeyError) as error:
        expected = f"arguments of {name} and of the strategy {kind}"
        raise SfgMedError(where, expected, str(error), "correct the network's options") from error


def _widened(options: Mapping[str, Any], width: float, where: str) -> dict[str, Any]:
    """The backbone's channels times a factor, in multiples of 4, to compare strategies at equal parameters."""
    if isinstance(width, bool) or not isinstance(width, int | float) or not width > 0:
        raise SfgMedError(where, "a positive number as strategy::width", repr(width), "correct it")
    if width == 1:
        return {}
    if "channels" not in options:
        raise SfgMedError(where, "network::channels beside strategy::width", "none", "name the channels")
    return {"channels": [max(4, 4 * round(c * width / 4)) for c in options["channels"]]}
