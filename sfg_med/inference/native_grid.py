# SPDX-License-Identifier: Apache-2.0
"""From the network's grid back to that of the input, in slabs, so that memory does not grow with the classes.

Probabilities are interpolated and the best class taken after that; an interpolated label map invents labels. The
network's grid has the axes of the input, so that each axis is interpolated by itself, by a matrix with two numbers in a
row, in a fraction of the time that resampling in space takes; only sheared inputs, whose axes it has not, need that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from numpy.typing import DTypeLike, NDArray

# Values (voxels x channels) held at a time; the resampling grid comes on top with three values a voxel.
SLAB_VALUES = 2**23
# Resampling rounds the field of view to whole voxels, so the input's outermost voxels may lie up to one voxel
# of the network's grid beyond it. They get the value of the border; what lies farther out is unknown.
REACH = 1.0
# Voxels of the network's grid that an axis may drift off another one over its length and count as parallel.
STRAIGHT = 1e-2


@dataclass(frozen=True)
class NativeGrid:
    """The grid to return to.

    Args:
        affine: (4, 4) voxel to RAS millimetres.
        shape: voxels along the three axes.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]

    def restore(
        self,
        channels: torch.Tensor,
        work_affine: NDArray[np.float64],
        finish: Callable[[torch.Tensor], torch.Tensor],
        *,
        fill: float,
        dtype: DTypeLike,
    ) -> NDArray[np.generic]:
        """Interpolate channels linearly and reduce them to one value for each voxel.

        Args:
            channels: (C, X', Y', Z') float32 on the network's grid.
            work_affine: (4, 4) affine of that grid.
            finish: (C, X, Y, dZ) interpolated to (X, Y, dZ) final values.
            fill: value of voxels beyond the network's grid.
            dtype: NumPy type of the result.

        Returns:
            (X, Y, Z) array in Fortran order, the order of NIfTI files.
        """
        result = np.empty(self.shape, dtype, order="F")
        to_work = np.asarray(np.linalg.solve(work_affine, self.affine), np.float64)
        for part, slab in self._slabs(channels, work_affine, to_work):
            values = finish(slab).cpu().numpy()
            outside = self._outside(part, to_work, channels.shape[1:])
            if outside is not None:
                values = np.where(outside, fill, values)
            result[:, :, part] = values
        return result

    def _slabs(
        self, channels: torch.Tensor, work_affine: NDArray[np.float64], to_work: NDArray[np.float64]
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        order = self._parallel(to_work)
        x, y, z = self.shape
        thick = max(1, SLAB_VALUES // (x * y * max(len(channels), 3)))
        parts = [slice(start, min(start + thick, z)) for start in range(0, z, thick)]
        if order is None:
            slabs = self._sheared(channels, work_affine, parts)
        else:
            slabs = self._straight(channels, to_work, order, parts)
        yield from zip(parts, slabs, strict=True)

    def _straight(
        self, channels: torch.Tensor, to_work: NDArray[np.float64], order: Sequence[int], parts: Sequence[slice]
    ) -> Iterator[torch.Tensor]:
        # Axes of the network's grid in the order of the input's.
        source = channels.permute(0, *(a + 1 for a in order))
        steps, starts = to_work[order, range(3)], to_work[order, 3]
        along = [
            _interpolation(start + step * np.arange(n), length).to(channels)
            for start, step, n, length in zip(starts, steps, self.shape, source.shape[1:], strict=True)
        ]
        for part in parts:
            slab = along[1] @ (source @ along[2][part].T)
            yield (along[0] @ slab.flatten(2)).unflatten(2, slab.shape[2:])

    def _sheared(
        self, channels: torch.Tensor, work_affine: NDArray[np.float64], parts: Sequence[slice]
    ) -> Iterator[torch.Tensor]:
        source = MetaTensor(channels, affine=torch.as_tensor(work_affine))
        resample = SpatialResample(mode="bilinear", padding_mode="border", align_corners=False, dtype=np.float32)
        for part in parts:
            shift = np.eye(4)
            shift[2, 3] = part.start
            size = (*self.shape[:2], part.stop - part.start)
            slab = resample(source, dst_affine=torch.as_tensor(self.affine @ shift), spatial_size=size)
            yield slab.as_tensor() if isinstance(slab, MetaTensor) else slab

    def _parallel(self, to_work: NDArray[np.float64]) -> list[int] | None:
        """Axis of the network's grid that each axis of the input runs along, or None if one runs between them."""
        order = [int(a) for a in np.abs(to_work[:3, :3]).argmax(axis=0)]
        rest = to_work[:3, :3].copy()
        rest[order, range(3)] = 0
        drift = np.abs(rest) @ np.array(self.shape)  # voxels, over the whole length of the axes
        return order if sorted(order) == [0, 1, 2] and bool((drift < STRAIGHT).all()) else None

    def _outside(self, part: slice, to_work: NDArray[np.float64], work_shape: torch.Size) -> NDArray[np.bool_] | None:
        """Voxels of a slab that lie beyond the network's grid, or None if there are none."""
        x, y, z = (np.arange(n, dtype=np.float32) for n in (self.shape[0], self.shape[1], part.stop - part.start))
        outside: NDArray[np.bool_] | None = None
        for row, length in zip(to_work[:3].astype(np.float32), work_shape, strict=True):
            terms = row[0] * x, row[1] * y, row[2] * (z + part.start) + row[3]
            if sum(t.min() for t in terms) >= -REACH and sum(t.max() for t in terms) <= length - 1 + REACH:
                continue
            index = terms[0][:, None, None] + terms[1][None, :, None] + terms[2][None, None, :]
            beyond = (index < -REACH) | (index > length - 1 + REACH)
            outside = beyond if outside is None else outside | beyond
        return outside


def _interpolation(places: NDArray[np.float64], length: int) -> torch.Tensor:
    """``(places, length)`` matrix that interpolates linearly between ``length`` voxels, the outermost held."""
    places = np.clip(places, 0, length - 1)
    below = np.minimum(places.astype(int), max(length - 2, 0))
    matrix = np.zeros((len(places), length), np.float32)
    rows = np.arange(len(places))
    matrix[rows, below] = 1 - (places - below)
    matrix[rows, np.minimum(below + 1, length - 1)] += places - below
    return torch.from_numpy(matrix)
