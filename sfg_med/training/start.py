# SPDX-License-Identifier: Apache-2.0
"""Where a run starts: from random weights or from another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from sfg_med.errors import SfgMedError
from sfg_med.model_file import load_model
from sfg_med.model_path import find_model
from sfg_med.networks import MultiTaskNetwork, build_network
from sfg_med.spec import ModelSpec

LAYERS = ("common", "all")
REMEDY = "leave network, strategy and tasks as the file has them, or set initial_layers=common"


def initial_settings(initial: str) -> dict[str, Any]:
    """What a config says of a model, as the model has it.

    Args:
        initial: see :func:`start_network`.

    Returns:
        Values of the keys ``input_name``, ``tasks``, ``spacing_mm``, ``patch_size``, ``network``, ``strategy`` and
        ``weighting`` of ``configs/train.yaml``.

    Raises:
        SfgMedError: for a file that is missing or no model.
    """
    settings = load_model(_find(initial), trainable=True).spec.to_dict()
    network = settings["network"]
    settings["strategy"] = network.pop("strategy", None) or "sfg"
    # Variances that the network returns want the loss that learns them.
    settings["weighting"] = "heteroscedastic" if network.pop("variance", False) else "equal"
    return settings


def start_network(spec: ModelSpec, initial: str | None = None, layers: str = "common") -> MultiTaskNetwork:
    """The network of a run, before its first step.

    Groups that are fixed in the other model are fixed here from the start and learn no more; a compact model is brought
    back to the form that trains.

    Args:
        spec: what the run trains.
        initial: another model to start from: its file, the folder of its run, or ``demonstration``, the shipped model.
            ``None`` starts from random weights.
        layers: ``"common"`` takes over what has the same name and shape; ``"all"`` wants all of it.

    Raises:
        SfgMedError: for a file that is missing or no model, or layers that do not fit.
    """
    if layers not in LAYERS:
        raise SfgMedError("initial_layers", " or ".join(LAYERS), repr(layers), "choose one of them")
    network = build_network(spec)
    if initial is None:
        return network
    path = _find(initial)
    start = load_model(path, trainable=True).network
    same_groups = start.groups.names == network.groups.names
    mine, theirs = network.state_dict(), start.state_dict()
    if not same_groups:  # an index into other groups means something else
        theirs = {k: v for k, v in theirs.items() if ".kernel_groups." not in k}
    common = {k: v for k, v in theirs.items() if k in mine and mine[k].shape == v.shape}
    if not common:
        raise SfgMedError(path, "a model with layers of this network", "none in common", "change initial_weights")
    if layers == "all":
        if not same_groups:
            found = f"groups {', '.join(start.groups.names)}"
            raise SfgMedError(path, f"groups {', '.join(network.groups.names)}", found, REMEDY)
        _check_all(path, mine, theirs)
    network.load_state_dict(common, strict=False)
    network.settle_groups()
    return network


def _find(initial: str) -> Path:
    try:
        return find_model(Path(initial))
    except SfgMedError as error:
        remedy = "give initial_weights a model file, the folder of a run, or demonstration"
        raise SfgMedError(error.where, error.expected, error.found, remedy) from error


def _check_all(path: Path, mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    for name in [*mine, *theirs]:
        shapes = [tuple(s[name].shape) if name in s else "none" for s in (theirs, mine)]
        if shapes[0] != shapes[1]:
            found = f"{name} {shapes[0]} in the file and {shapes[1]} in the network"
            raise SfgMedError(path, "the layers of this network", found, REMEDY)
