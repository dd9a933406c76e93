# SPDX-License-Identifier: Apache-2.0
"""MONAI's resampling to a voxel size, with a number of voxels that the last bits of an affine do not decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import compute_shape_offset, zoom_affine
from monai.transforms import Spacing, Spacingd

# Part of the extent: more than single precision leaves of a header's numbers, far less than anyone sees.
TIE = 1e-5
# Digits of a voxel size: one less than single precision has.
DIGITS = 6


def voxels_across(shape: Sequence[int], affine: np.ndarray, pixdim: np.ndarray) -> list[int]:
    """How many voxels of ``pixdim`` take the place of an image: the extent between the centres of its corners along the
    axes that remain when shear is taken out, rounded to whole steps, halves up.

    Args:
        shape: voxels along each axis.
        affine: ``(r + 1, r + 1)`` for r axes, mm.
        pixdim: mm, one a axis.
    """
    wider = affine.copy()
    wider[:-1, :-1] *= 1 + TIE
    found, _ = compute_shape_offset(shape, wider, zoom_affine(affine, pixdim, diagonal=False))
    return [int(n) for n in found]


def steady_affine(affine: np.ndarray) -> np.ndarray:
    """An affine ``(4, 4)`` with its voxel sizes rounded to ``DIGITS`` digits: the 2.9999998 mm that single precision
    makes of 3 mm in a NIfTI header is then sampled where the 3 mm of the DICOM series are."""
    steady = affine.astype(np.float64)
    sizes = np.linalg.norm(steady[:3, :3], axis=0)
    steady[:3, :3] *= [float(f"{size:.{DIGITS}g}") / size for size in sizes]
    return steady


class StableSpacing(Spacing):
    """:class:`monai.transforms.Spacing` that rounds the number of voxels halves up, within a tolerance.

    MONAI rounds what floating point made of it: of 19 slices every 3 mm, which are 14.5 of 4 mm, it makes 14 or 15,
    as the affine's last bits have it, and a DICOM series and the NIfTI made of it are then not predicted alike.
    """

    def __call__(  # type: ignore[override]
        self, data_array: torch.Tensor, *, output_spatial_shape: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        """See :meth:`monai.transforms.Spacing.__call__`; ``data_array`` is ``(C, X, Y, Z)``."""
        if output_spatial_shape is None and isinstance(data_array, MetaTensor):
            shape, affine = data_array.peek_pending_shape(), data_array.peek_pending_affine()
            output_spatial_shape = voxels_across(shape, np.asarray(affine, np.float64), self.pixdim)
        return super().__call__(data_array, output_spatial_shape=output_spatial_shape, **kwargs)


class StableSpacingd(Spacingd):
    """:class:`StableSpacing` for dictionaries; the arguments are those of :class:`monai.transforms.Spacingd`."""

    def __init__(
        self,
        keys: KeysCollection,
        pixdim: Sequence[float],
        mode: str | Sequence[str] = "bilinear",
        padding_mode: str = "border",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, pixdim, mode=mode, padding_mode=padding_mode, allow_missing_keys=allow_missing_keys)
        self.spacing_transform = StableSpacing(pixdim)
