# SPDX-License-Identifier: Apache-2.0
"""From a model specification to its network; only networks named here can come out of a model file."""

from __future__ import annotations

from sfg_med.errors import SfgMedError
from sfg_med.networks.multitask import MultiTaskNetwork
from sfg_med.networks.unet import SFGUNet
from sfg_med.spec import ModelSpec

NETWORKS: dict[str, type[MultiTaskNetwork]] = {"SFGUNet": SFGUNet}


def build_network(spec: ModelSpec, where: str = "network") -> MultiTaskNetwork:
    """Build the untrained network of a specification.

    Args:
        spec: ``spec.network`` holds ``name`` and keyword arguments; the tasks come from ``spec.tasks``.
        where: named in errors.

    Raises:
        SfgMedError: for an unknown network or arguments that do not fit it.
    """
    options = dict(spec.network)
    name = options.pop("name", "SFGUNet")
    if name not in NETWORKS:
        raise SfgMedError(where, f"a network among {', '.join(NETWORKS)}", repr(name), "correct the name")
    try:
        return NETWORKS[name](tasks=spec.channels, **options)
    except (TypeError, ValueError) as error:
        raise SfgMedError(where, f"arguments of {name}", str(error), "correct the network's options") from error
