# SPDX-License-Identifier: Apache-2.0
"""The voxel grid seen in the man's own coordinates, and what is painted on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.simulation.noise import Array, Streams, smooth_noise
from sfg_med.data.simulation.shapes import Point, Points

Box = tuple[slice, slice, slice]
_MARGIN_MM = 16.0  # largest displacement of the warp plus the width of an edge


class Space:
    """Positions of the voxels in the template's coordinates: the origin is midway between the hip joints.

    x runs to the patient's right, y forward, z upward (RAS). A smooth warp and a scale make the individual.

    Args:
        axes_mm: voxel positions along x, y, z, relative to the hip centre.
        streams: the man's random streams.
        scale: size of the man relative to the template, along x, y, z.
        warp_mm: standard deviation of the smooth displacement.
    """

    def __init__(self, axes_mm: Sequence[NDArray[np.floating]], streams: Streams, scale: Point, warp_mm: float) -> None:
        self.axes_mm = tuple(np.asarray(a, np.float32) / np.float32(s) for a, s in zip(axes_mm, scale, strict=True))
        self.shape = tuple(len(a) for a in self.axes_mm)
        self.streams = streams
        spacing = [abs(float(a[1] - a[0])) for a in axes_mm]
        self.edge_mm = float(np.prod(spacing) ** (1.0 / 3.0))
        grids = np.meshgrid(*self.axes_mm, indexing="ij", sparse=True)
        self.points: Points = tuple(
            (g + np.clip(self.noise(f"warp {axis}", 120.0), -2.5, 2.5) * np.float32(warp_mm)).astype(np.float32)
            for axis, g in enumerate(grids)
        )

    def noise(self, name: str, knot_mm: float | Sequence[float], box: Box | None = None) -> Array:
        """Smooth unit-variance noise of stream ``name``, on the whole grid or a box of it."""
        axes = self.axes_mm if box is None else tuple(a[s] for a, s in zip(self.axes_mm, box, strict=True))
        return smooth_noise(self.streams(name), axes, knot_mm)

    def box(self, corners: Sequence[Point], reach_mm: float, side: int = 1) -> Box | None:
        """Slices of the voxels within ``reach_mm`` of the box around ``corners``; None if there are none.

        ``side`` -1 mirrors the corners to the patient's left.
        """
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        if side < 0:
            low[0], high[0] = -high[0], -low[0]
        slices = []
        for axis, a, b in zip(self.axes_mm, low, high, strict=True):
            margin = reach_mm + _MARGIN_MM
            start, stop = np.searchsorted(axis, (a - margin, b + margin))
            if stop <= start:
                return None
            slices.append(slice(int(start), int(stop)))
        return slices[0], slices[1], slices[2]

    def at(self, box: Box, side: int = 1) -> Points:
        """Template positions of a box's voxels, mirrored for the left side so that x is always lateral."""
        x, y, z = (a[box] for a in self.points)
        return (-x if side < 0 else x), y, z


def whole(space: Space) -> Box:
    """The box of all voxels."""
    return tuple(slice(0, n) for n in space.shape)  # type: ignore[return-value]


@dataclass(frozen=True)
class Look:
    """A material: one number, or a value for every voxel of the grid or of a box.

    Args:
        mr: MR signal.
        ct: CT number.
        tissue: position in ``TISSUE_NAMES`` of the tissue that dominates.
    """

    mr: Array | float
    ct: Array | float
    tissue: NDArray[np.uint8] | int


@dataclass
class Canvas:
    """MR, CT, tissues and labels while a man is painted, one part over the other.

    A part covers a voxel by the share ``clip(0.5 - distance / edge, 0, 1)``, the volume share of a plane
    boundary: partial volume in MR and CT comes from that.

    Args:
        shape: grid shape.
        edge_mm: edge length of a voxel.
    """

    shape: tuple[int, ...]
    edge_mm: float
    mr: Array = field(init=False)
    ct: Array = field(init=False)
    tissue: NDArray[np.uint8] = field(init=False)
    label: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.mr = np.zeros(self.shape, np.float32)
        self.ct = np.full(self.shape, -1000.0, np.float32)
        self.tissue = np.zeros(self.shape, np.uint8)
        self.label = np.zeros(self.shape, np.uint8)

    def paint(self, box: Box, distance: Array, look: Look, label: int = 0) -> None:
        """Paint a part given by its signed distance (mm) over what is there; inside set its label and tissue."""
        cover = np.clip(np.float32(0.5) - distance / np.float32(self.edge_mm), 0, 1)
        for image, value in ((self.mr, look.mr), (self.ct, look.ct)):
            under = image[box]
            under += cover * (_in_box(np.asarray(value, np.float32), box, cover.shape) - under)
        inside = cover > 0.5
        self.label[box][inside] = label
        tissue = _in_box(np.asarray(look.tissue, np.uint8), box, cover.shape)
        self.tissue[box][inside] = tissue[inside] if tissue.ndim else tissue


def _in_box(value: NDArray[Any], box: Box, shape: tuple[int, ...]) -> NDArray[Any]:
    return value[box] if value.ndim and value.shape != shape else value
