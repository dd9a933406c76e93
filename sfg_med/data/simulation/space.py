# SPDX-License-Identifier: Apache-2.0
"""The voxel grid seen in the man's own coordinates, and what is painted on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Array, Streams, smooth_noise
from sfg_med.data.simulation.shapes import Point, Points, ramp

Box = tuple[slice, slice, slice]


class Space:
    """Positions of the voxels in the template's coordinates: the origin is midway between the hip joints.

    x runs to the patient's right, y forward, z upward (RAS). Rotations, scale and a smooth warp make the individual.
    ``points`` are the positions for the pelvis, which tilts about the axis through the hip joints; ``still`` those
    for outline and legs, which do not; ``flat_y`` are the heights over the table, without the warp.

    Args:
        axes_mm: voxel positions along x, y, z, relative to the hip centre.
        streams: the man's random streams.
        man: his size, posture and warp.
    """

    def __init__(self, axes_mm: Sequence[NDArray[np.floating]], streams: Streams, man: Man) -> None:
        self.streams = streams
        self.axes_mm = tuple(np.asarray(a, np.float32) / np.float32(s) for a, s in zip(axes_mm, man.scale, strict=True))
        self.shape = tuple(len(a) for a in self.axes_mm)
        spacing = [abs(float(a[1] - a[0])) for a in axes_mm]
        self.edge_mm = float(np.prod(spacing) ** (1.0 / 3.0))
        turned = _turn(np.meshgrid(*self.axes_mm, indexing="ij", sparse=True), man.turn_deg)
        self.still: Points = tuple(
            (
                c
                + np.clip(self.noise(f"warp {axis}", 120.0), -2.5, 2.5) * np.float32(man.warp_mm)
                + np.clip(self.noise(f"fine warp {axis}", 50.0), -2.5, 2.5) * np.float32(man.fine_warp_mm)
            ).astype(np.float32)
            for axis, c in enumerate(turned)
        )
        self.flat_y = np.asarray(np.broadcast_to(turned[1], self.shape), np.float32)
        self.points = _tilt(self.still, man.tilt_deg)
        self._step = tuple(max(1, round(12.0 / s)) for s in spacing)
        self._coarse = [p[tuple(_thin(n, s) for n, s in zip(self.shape, self._step, strict=True))] for p in self._both]
        self._pad_mm = 2.0 + 1.3 * max(s * e for s, e in zip(self._step, spacing, strict=True))

    @property
    def _both(self) -> tuple[Array, ...]:
        return (*self.points, *self.still)

    def noise(self, name: str, knot_mm: float | Sequence[float], box: Box | None = None) -> Array:
        """Smooth unit-variance noise of stream ``name``, on the whole grid or a box of it."""
        axes = self.axes_mm if box is None else tuple(a[s] for a, s in zip(self.axes_mm, box, strict=True))
        return smooth_noise(self.streams(name), axes, knot_mm)

    def box(self, corners: Sequence[Point], reach_mm: float, side: int = 1, still: bool = False) -> Box | None:
        """Slices of the voxels within ``reach_mm`` of the box around ``corners``; None if there are none.

        ``side`` -1 mirrors the corners to the patient's left; ``still`` takes them as positions in ``still``.
        The voxels are found on one in each 12 mm of them, with a margin of that step.
        """
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        if side < 0:
            low[0], high[0] = -high[0], -low[0]
        margin = reach_mm + self._pad_mm
        inside: NDArray[np.bool_] | bool = True
        for p, a, b in zip(self._coarse[3:] if still else self._coarse[:3], low, high, strict=True):
            inside = inside & (p > a - margin) & (p < b + margin)
        slices = []
        for axis in range(3):
            found = np.flatnonzero(np.any(inside, axis=tuple(k for k in range(3) if k != axis)))
            if not len(found):
                return None
            at = np.arange(self.shape[axis])[_thin(self.shape[axis], self._step[axis])][found]
            slices.append(slice(max(int(at[0]) - 1, 0), int(at[-1]) + 2))
        return slices[0], slices[1], slices[2]

    def at(self, box: Box, side: int = 1, still: bool = False) -> Points:
        """Template positions of a box's voxels, mirrored for the left side so that x is always lateral."""
        x, y, z = (a[box] for a in (self.still if still else self.points))
        return (-x if side < 0 else x), y, z


def _thin(size: int, step: int) -> NDArray[np.intp] | slice:
    return slice(0, size, step)


def _turn(p: Sequence[Array], degrees: tuple[float, float]) -> Points:
    """Rotate the man in the scanner about y (front to back) and then about z (head to feet)."""
    (cy, sy), (cz, sz) = ((np.float32(np.cos(a)), np.float32(np.sin(a))) for a in np.deg2rad(degrees))
    x, z = cy * p[0] - sy * p[2], sy * p[0] + cy * p[2]
    return cz * x - sz * p[1], sz * x + cz * p[1], z


def _tilt(p: Points, degrees: float) -> Points:
    """Rotate the pelvis about the axis through both hip joints; thighs and belly wall stay as they are."""
    x, y, z = p
    angle = np.float32(np.deg2rad(degrees)) * ramp(z, -95, -35) * ramp(y, 85, 40)
    c, s = np.cos(angle), np.sin(angle)
    return x, c * y - s * z, s * y + c * z


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
