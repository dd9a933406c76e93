# SPDX-License-Identifier: Apache-2.0
"""One file that holds a model: weights and specification, without pickle and without code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sfg_med import __version__
from sfg_med.data.atomic import atomic_path
from sfg_med.errors import SfgMedError
from sfg_med.networks import MultiTaskNetwork, build_network
from sfg_med.networks.expand import load_compact
from sfg_med.spec import ModelSpec

KEY, DIGEST = "sfg_med", "sfg_med_sha256"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run.

    Args:
        network: in evaluation mode, on the CPU; ``(B, C, X, Y, Z)`` out, image tasks in normalised units, label tasks
            as logits, in the order of ``spec.tasks``.
        spec: what it reads and returns.
        sha256: hash of the file.
        path: the file.
        metadata: what else the file says: version, training, compact form.
    """

    network: MultiTaskNetwork
    spec: ModelSpec
    sha256: str
    path: Path
    metadata: dict[str, Any] = field(default_factory=dict)


def save_model(
    path: Path,
    network: MultiTaskNetwork,
    spec: ModelSpec,
    *,
    compact: bool = False,
    task: str | None = None,
    provenance: Mapping[str, Any],
    checks: Mapping[str, Any] | None = None,
) -> None:
    """Write a model file in one step.

    Args:
        path: ``*.safetensors``.
        network: the trained network, as :func:`sfg_med.networks.build_network` makes it.
        spec: its specification.
        compact: store the compact form, whose groups are fixed.
        task: of the compact form, keep this task only.
        provenance: how it was made; plain JSON types.
        checks: what was measured of it, such as the difference that bf16 makes; plain JSON types.
    """
    assignment = {name: groups.tolist() for name, groups in network.assignments().items()}
    stored = network.compact(task) if compact else network
    about = {
        "version": __version__,
        "spec": spec.to_dict(),
        "groups": list(network.groups.names),
        "compact": compact,
        "task": task,
        "assignment": assignment if compact else None,
        "provenance": dict(provenance),
        "checks": dict(checks or {}),
    }
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in stored.state_dict().items()}
    text = json.dumps(about)
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, metadata={KEY: text, DIGEST: digest(text, tensors)})


def digest(about: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of what a model file says and of its weights: name, type, shape and bytes of each, by name."""
    found = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        found.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_model(path: Path, *, trainable: bool = False) -> LoadedModel:
    """Read a model file.

    Args:
        path: the file.
        trainable: give the network of a compact file the form that its specification builds, from which training can go
            on: same output, groups fixed.

    Raises:
        SfgMedError: if the file is missing, no model, not as it was written, does not fit its own specification, or is
            to be trained and holds one task of a network only.
    """
    path = Path(path)
    if not path.is_file():
        raise SfgMedError(path, "a model file", "nothing there", "check -m, or train one (sfg-med train)")
    remedy = "use a model.safetensors that sfg-med train or sfg-med export wrote"
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
            about = dict(json.loads(texts[KEY]))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SfgMedError(path, "an sfg_med model in safetensors format", f"{error}", remedy) from error
    found = digest(texts[KEY], tensors)
    if texts.get(DIGEST) != found:
        stated = f"{str(texts.get(DIGEST, 'none'))[:64]}, but its content has {found}"
        raise SfgMedError(path, "a model whose content has the hash that it states", stated, "copy it again")
    if trainable and about.get("task"):
        found = f"one reduced to {about['task']}"
        raise SfgMedError(path, "a model of all its tasks", found, "start from the model that it was exported from")
    try:
        spec = ModelSpec.from_dict(about["spec"], where=str(path))
        network = build_network(spec, where=str(path))
        if about["compact"]:
            network.set_groups({k: torch.tensor(v) for k, v in about["assignment"].items()})
        if about["compact"] and trainable:
            load_compact(network, tensors)
        else:
            network = network.compact(about["task"]) if about["compact"] else network
            network.load_state_dict(tensors)
        if about["task"]:
            spec = replace(spec, tasks=tuple(t for t in spec.tasks if t.name == about["task"]))
    except (AttributeError, IndexError, KeyError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        lines = str(error).split("\n\t")[0:2]
        raise SfgMedError(path, "weights that fit its specification", " ".join(lines)[:300], remedy) from error
    metadata = {k: v for k, v in about.items() if k not in ("spec", "assignment")}
    return LoadedModel(network.eval(), spec, _sha256(path), path, metadata)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
