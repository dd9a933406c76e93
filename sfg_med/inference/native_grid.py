# SPDX-License-Identifier: Apache-2.0
"""From the network's grid back to that of the input, in slabs, so that memory does not grow with the classes.

Probabilities are interpolated and the best class taken after that; an interpolated label map invents labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        for part, slab in self._slabs(channels, work_affine):
            values = finish(slab).cpu().numpy()
            outside = self._outside(part, work_affine, channels.shape[1:])
            if outside is not None:
                values = np.where(outside, fill, values)
            result[:, :, part] = values
        return result

    def _slabs(self, channels: torch.Tensor, work_affine: NDArray[np.float64]) -> Iterator[tuple[slice, torch.Tensor]]:
        source = MetaTensor(channels, affine=torch.as_tensor(work_affine))
        resample = SpatialResample(mode="bilinear", padding_mode="border", align_corners=False, dtype=np.float32)
        x, y, z = self.shape
        thick = max(1, SLAB_VALUES // (x * y * max(len(channels), 3)))
        for start in range(0, z, thick):
            stop = min(start + thick, z)
            shift = np.eye(4)
            shift[2, 3] = start
            slab = resample(source, dst_affine=torch.as_tensor(self.affine @ shift), spatial_size=(x, y, stop - start))
            yield slice(start, stop), slab.as_tensor() if isinstance(slab, MetaTensor) else slab

    def _outside(
        self, part: slice, work_affine: NDArray[np.float64], work_shape: torch.Size
    ) -> NDArray[np.bool_] | None:
        """Voxels of a slab that lie beyond the network's grid, or None if there are none."""
        to_work = np.linalg.solve(work_affine, self.affine)
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
