# SPDX-License-Identifier: Apache-2.0
"""Read what a training run wrote: curves from ``history.csv`` and group shares from ``groups.json``."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.errors import SfgMedError
from sfg_med.report.case_files import read_json

HISTORY = "history.csv"
GROUPS = "groups.json"
_LAYER = re.compile(r"(encoder|decoder|reduce)\.(\d+)(?:\.(\d+))?(?:\.conv)?$")
_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.conv$")


@dataclass(frozen=True)
class Curve:
    """A quantity over the steps of a run; both arrays have one entry a point."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Shares:
    """Mean probability of each group in each layer over the run.

    Args:
        groups: names of the G groups.
        layers: readable names of the L layers, in the order in which an image passes through them.
        kernels: number of kernels of each layer, or nothing where the file does not say.
        steps: step of each of the N records.
        values: ``(N, L, G)``, rows sum to 1.
    """

    groups: tuple[str, ...]
    layers: tuple[str, ...]
    kernels: tuple[int, ...]
    steps: tuple[int, ...]
    values: NDArray[np.float64]

    @property
    def overall(self) -> NDArray[np.float64]:
        """``(N, G)`` shares of all kernels of the network; layers count alike where kernels are not known."""
        weights = np.asarray(self.kernels or np.ones(len(self.layers)), dtype=float)
        result: NDArray[np.float64] = np.einsum("nlg,l->ng", self.values, weights / weights.sum())
        return result


def read_history(path: Path) -> dict[tuple[str, str], Curve]:
    """Read curves by split (``train``, ``validation``) and name; points that are not finite are left out.

    Raises:
        SfgMedError: if the file is not a history.
    """
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                value = float(row["value"])
                if math.isfinite(value):
                    split = "train" if row["split"] == "training" else row["split"]
                    points.setdefault((split, row["name"]), []).append((float(row["step"]), value))
    except (OSError, KeyError, ValueError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise SfgMedError(path, "columns step, split, name, value", found, "give the folder of a run") from error
    return {key: _curve(pairs) for key, pairs in points.items()}


def read_shares(path: Path) -> Shares:
    """Read the group shares of all layers, sorted in forward order.

    Raises:
        SfgMedError: if lengths do not fit each other.
    """
    data: Mapping[str, Any] = read_json(path, "the group shares of a run")
    try:
        layers, groups = list(data["layers"]), tuple(map(str, data["groups"]))
        steps, values = tuple(map(int, data["steps"])), np.asarray(data["shares"], dtype=float)
        kernels = list(map(int, data.get("kernels") or []))
        if not layers:  # a network that learns no groups
            values = np.zeros((len(steps), 0, len(groups)))
    except (KeyError, TypeError, ValueError) as error:
        raise _misfit(path, f"{type(error).__name__}: {error}") from error
    if values.shape != (len(steps), len(layers), len(groups)) or (kernels and len(kernels) != len(layers)):
        raise _misfit(path, f"shares of shape {values.shape}")
    order = forward_order(layers)
    return Shares(
        groups,
        tuple(layer_name(layers[i]) for i in order),
        tuple(kernels[i] for i in order) if kernels else (),
        steps,
        values[:, order],
    )


def forward_order(layers: list[str]) -> list[int]:
    """Indices that sort a U-Net's layers as an image meets them; other networks keep the file's order."""
    matches = [_LAYER.match(name) for name in layers]
    if not all(matches):
        return list(range(len(layers)))
    keys = [(m[1] != "encoder", int(m[2]), -1 if m[1] == "reduce" else int(m[3] or 0)) for m in matches if m]
    return sorted(range(len(layers)), key=keys.__getitem__)


def layer_name(layer: str) -> str:
    """Readable name: ``down 1, conv 2`` for ``encoder.0.1.conv``, ``block 3, conv 1`` for ``blocks.2.0.conv``."""
    match = _LAYER.match(layer)
    if not match:
        block = _BLOCK.match(layer)
        return f"block {int(block[1]) + 1}, conv {int(block[2]) + 1}" if block else layer.removesuffix(".conv")
    part, level = match[1], int(match[2]) + 1
    if part == "reduce":
        return f"up {level}, reduce"
    return f"{'down' if part == 'encoder' else 'up'} {level}, conv {int(match[3] or 0) + 1}"


def _curve(pairs: list[tuple[float, float]]) -> Curve:
    steps, values = np.asarray(sorted(pairs)).T
    return Curve(steps, values)


def _misfit(path: Path, found: str) -> SfgMedError:
    return SfgMedError(path, "groups, layers, steps and shares (steps x layers x groups)", found, "train again")
