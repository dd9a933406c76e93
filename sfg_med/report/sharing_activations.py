# SPDX-License-Identifier: Apache-2.0
"""What single kernels see: activation maps of certain and of undecided kernels, beside the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.report import charts
from sfg_med.report.pictures import Window, slice_uri
from sfg_med.report.sharing_files import Floats, entropy

PIXELS = 160
"""Shorter side of a picture; coarse maps are enlarged without smoothing, so that their true pixels show."""

DEAD = 1e-6
"""Spread of a map, relative to its size, below which the kernel answers to nothing."""


@dataclass(frozen=True)
class LayerMaps:
    """What one layer makes of one slice.

    Args:
        name: readable name.
        p: ``(K, G)`` learned probabilities.
        label: ``(K,)`` group of each kernel, -1 for kernels that belong to none.
        maps: ``(K, rows, columns)``.
    """

    name: str
    p: Floats
    label: NDArray[np.int64]
    maps: NDArray[np.float32]


@dataclass(frozen=True)
class Cell:
    """One picture: a kernel's map with the colour of its group, or the empty place of a group without kernels."""

    group: str
    colour: str
    caption: str
    uri: str = ""


@dataclass(frozen=True)
class Row:
    """Pictures of one layer: certain kernels of each group, and the least certain kernels of the layer."""

    name: str
    kernels: int
    certain: list[Cell]
    uncertain: list[Cell]
    dead: int


def activation_rows(layers: Sequence[LayerMaps], groups: Sequence[str], each: int = 2) -> Iterator[Row]:
    """Choose and draw kernels, layer by layer.

    Args:
        layers: in forward order.
        groups: names of the groups.
        each: kernels of each group, and of the least certain ones.
    """
    colours = charts.group_colours(groups)
    for layer in layers:
        chosen = choose_kernels(layer.p, layer.label, each)
        certain = []
        for g, kernels in enumerate(chosen[:-1]):
            cells = [_cell(layer, k, groups[g], colours[g]) for k in kernels]
            certain += cells + [Cell(groups[g], colours[g], "no further kernel")] * (each - len(cells))
        uncertain = [_cell(layer, k, groups[layer.label[k]], colours[layer.label[k]]) for k in chosen[-1]]
        dead = sum(is_dead(values) for values in layer.maps)
        yield Row(layer.name, len(layer.p), certain, uncertain, dead)


def choose_kernels(p: Floats, label: NDArray[np.int64], each: int = 2) -> list[list[int]]:
    """The kernels of lowest entropy of each group, then those of highest entropy that are left.

    Args:
        p: ``(K, G)``.
        label: ``(K,)``.
        each: most kernels in a list.

    Returns:
        G + 1 lists of kernels.
    """
    order = np.argsort(entropy(p), kind="stable")
    chosen = [[int(k) for k in order if label[k] == g][:each] for g in range(p.shape[1])]
    taken = {k for kernels in chosen for k in kernels}
    rest = [int(k) for k in order[::-1] if label[k] >= 0 and int(k) not in taken]
    return [*chosen, rest[:each]]


def is_dead(values: NDArray[Any]) -> bool:
    """Whether a map ``(rows, columns)`` is the same everywhere."""
    return bool(np.std(values) <= DEAD * max(float(np.abs(values).max()), DEAD))


def picture(values: NDArray[Any]) -> str:
    """Grey picture of ``(rows, columns)`` from its 1st to its 99th percentile, as a data URI."""
    low, high = np.percentile(values, (1, 99))
    if high <= low:  # a few bright pixels on nothing
        low, high = float(values.min()), float(values.max())
    enlarged = np.kron(values, np.ones((max(1, PIXELS // min(values.shape)),) * 2))
    return slice_uri(enlarged, Window(float(low), float(high), "own"))


def _cell(layer: LayerMaps, kernel: int, group: str, colour: str) -> Cell:
    values = layer.maps[kernel]
    kind = ", dead" if is_dead(values) else ""
    share = layer.p[kernel, layer.label[kernel]]
    return Cell(group, colour, f"{kernel}: p {share:.2f}, H {entropy(layer.p[kernel]):.2f}{kind}", picture(values))
