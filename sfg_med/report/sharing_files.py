# SPDX-License-Identifier: Apache-2.0
"""Read ``trajectories.npz`` of a run: p of every kernel over training, layers in forward order."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.errors import SfgMedError
from sfg_med.report.run_files import forward_order, layer_name

TRAJECTORIES = "trajectories.npz"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trajectories:
    """Group probabilities of all kernels over a run.

    Args:
        groups: names of the G groups.
        keys: the L layers as the network names them, in the order in which an image passes through them.
        steps: ``(N,)`` training step of each record.
        p: one ``(N, K, G)`` array a layer; rows sum to 1, or are zero for kernels that belong to no group.
        free: ``(N, L)``: how many kernels of each layer still learned their group.
    """

    groups: tuple[str, ...]
    keys: tuple[str, ...]
    steps: NDArray[np.int64]
    p: tuple[Floats, ...]
    free: NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """Readable names of the layers."""
        return tuple(map(layer_name, self.keys))

    @property
    def learned(self) -> int:
        """Index of the last record in which groups were still being learned; of the last one if they never were."""
        learning = np.flatnonzero(self.free.any(axis=1))
        return int(learning[-1]) if len(learning) else len(self.steps) - 1

    @property
    def frozen(self) -> bool:
        """Whether the kernels were fixed to groups before the run ended."""
        return self.learned < len(self.steps) - 1

    def learned_p(self) -> list[Floats]:
        """``(K, G)`` of each layer: what was learned, before the kernels were fixed to groups."""
        return [values[self.learned] for values in self.p]

    def entropies(self) -> Floats:
        """``(N, L)`` mean entropy of p in nats."""
        return np.stack([entropy(values).mean(axis=1) for values in self.p], axis=1)


def entropy(p: Floats) -> Floats:
    """Entropy of each row in nats: ``(..., G)`` to ``(...)``."""
    result: Floats = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
    return result


def read_trajectories(path: Path) -> Trajectories:
    """Read the record of a run.

    Raises:
        SfgMedError: if the file is damaged or its arrays do not fit each other.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return _parse({name: file[name] for name in file.files})
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        expected = "steps, groups, free and p of each layer (steps x kernels x groups)"
        found = f"{type(error).__name__}: {error}"
        raise SfgMedError(path, expected, found, "train again, or remove the file") from error


def _parse(data: Mapping[str, NDArray[Any]]) -> Trajectories:
    steps, groups, free = data["steps"], tuple(map(str, data["groups"])), data["free"]
    layers = [name for name in data if name not in ("steps", "groups", "free")]
    if not layers or not len(steps) or free.shape != (len(steps), len(layers)):
        raise ValueError(f"{len(layers)} layers, {len(steps)} steps, free of shape {free.shape}")
    for name in layers:
        shape = data[name].shape
        if len(shape) != 3 or (shape[0], shape[2]) != (len(steps), len(groups)):
            raise ValueError(f"{name} of shape {shape}")
    order = forward_order(layers)
    return Trajectories(
        groups=groups,
        keys=tuple(layers[i] for i in order),
        steps=steps.astype(np.int64),
        p=tuple(_normalised(data[layers[i]]) for i in order),
        free=free[:, order].astype(np.int64),
    )


def _normalised(p: NDArray[Any]) -> Floats:
    """Take out the rounding of half precision; rows of idle kernels stay zero."""
    values = p.astype(np.float64)
    total = values.sum(axis=-1, keepdims=True)
    result: Floats = np.divide(values, total, out=np.zeros_like(values), where=total > 0.5)
    return result
