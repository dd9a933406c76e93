# SPDX-License-Identifier: Apache-2.0
"""The common grid of a case: the MR's own, or its box at another voxel size; everything else is moved onto it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.preparation.images import Image, array_of

# A resampled CT is air where nothing was scanned.
AIR_HU = -1000.0
# Grids that differ by less (mm; part of a voxel) are the same.
_SAME = 1e-3


def with_spacing(image: Image, spacing_mm: Sequence[float]) -> Image:
    """An empty image over the same box, with its axes, at another voxel size in mm.

    Voxel faces, not centres, of the first voxels coincide; the box may grow by less than a voxel.
    """
    old, new = np.asarray(image.GetSpacing()), np.asarray(spacing_mm, dtype=float)
    size = np.maximum(np.ceil(np.asarray(image.GetSize()) * old / new - _SAME), 1).astype(int)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(new.tolist())
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(((new - old) / 2 / old).tolist()))
    return grid


def padded(image: Image, margin_mm: float) -> Image:
    """An empty image over the grid, grown by ``margin_mm`` on all sides, its voxels at the same places."""
    margin = [int(np.ceil(margin_mm / s)) for s in image.GetSpacing()]
    empty = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    empty.CopyInformation(image)
    return sitk.ConstantPad(empty, margin, margin)


def resample(
    image: Image, grid: Image, transform: sitk.Transform | None = None, *, fill: float = 0.0, labels: bool = False
) -> Image:
    """Bring an image onto a grid.

    Where the new voxels are larger than the old ones along an axis, a Gaussian as wide as the difference goes first, so
    that noise and thin edges do not alias. Labels are taken from the nearest voxel.

    Args:
        image: what to move.
        grid: whose grid the result has.
        transform: point of ``grid`` to point of ``image``, in LPS mm; identity by default.
        fill: value where the image has no data.
        labels: whether values are labels.
    """
    if transform is None and _same(image, grid):
        return image  # resampling would add rounding
    if not labels:
        image = _smooth(image, grid)
    kind = sitk.sitkNearestNeighbor if labels else sitk.sitkLinear
    return sitk.Resample(image, grid, transform or sitk.Transform(3, sitk.sitkIdentity), kind, fill)


def covered(image: Image, grid: Image, transform: sitk.Transform | None = None) -> Image:
    """Which voxels of a grid an image has data for, uint8."""
    ones = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(image)
    return resample(ones, grid, transform, labels=True)


def displacements(transform: sitk.Transform, grid: Image) -> Image:
    """How far a transform moves each voxel of a grid, LPS mm, three float64 a voxel."""
    sampler = sitk.TransformToDisplacementFieldFilter()
    sampler.SetReferenceImage(grid)
    return sampler.Execute(transform)


def common_box(mask: Image) -> tuple[list[int], list[int]]:
    """Size and first index of the box around a mask, for ``SimpleITK.RegionOfInterest``; the mask must not be empty."""
    places = [np.flatnonzero(array_of(mask).any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    return [int(p[-1] - p[0] + 1) for p in places], [int(p[0]) for p in places]


def _same(image: Image, grid: Image) -> bool:
    """Whether both have one grid."""
    return image.GetSize() == grid.GetSize() and all(
        np.allclose(getattr(image, name)(), getattr(grid, name)(), rtol=0, atol=_SAME)
        for name in ("GetSpacing", "GetOrigin", "GetDirection")
    )


def _smooth(image: Image, grid: Image) -> Image:
    """Gaussian of the standard deviation by which the kernels of both voxel sizes differ (0.5 / 1.18 = half width)."""
    old, new = np.asarray(image.GetSpacing()), np.asarray(grid.GetSpacing())
    sigma = np.sqrt(np.maximum(new**2 - old**2, 0.0)) / 2.355
    if np.all(new <= old * 1.05):
        return image
    return sitk.DiscreteGaussian(image, (sigma**2).tolist(), maximumKernelWidth=64, maximumError=0.01)
