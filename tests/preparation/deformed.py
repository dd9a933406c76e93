# SPDX-License-Identifier: Apache-2.0
"""Pairs with a known motion: a CT is turned, shifted and bent by a function that is written down, not estimated."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from sfg_med.data.volumes import Volume
from sfg_med.preparation.images import Image, array_of, image_like, to_image

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """``g(y) = R (y - c) + c + t + bend(y)``: where the tissue at point y (LPS mm) of the moved CT was before."""

    rotation: Points
    centre: Points
    shift: Points
    amplitude: Points
    waves: Points
    phases: Points

    def __call__(self, points: Points) -> Points:
        """``(N, 3)`` to ``(N, 3)``."""
        bend = self.amplitude * np.sin((points - self.centre) @ self.waves.T + self.phases)
        return (points - self.centre) @ self.rotation.T + self.centre + self.shift + bend


def known_motion(
    seed: int, image: Image, *, degrees: float = 4.0, shift_mm: float = 10.0, bend_mm: float = 6.0
) -> Motion:
    """Up to 4 degrees about each axis, 10 mm along each, and sine waves of 6 mm and 140 to 220 mm length."""
    rng = np.random.default_rng(seed)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.deg2rad(rng.uniform(-degrees, degrees, 3)))
    directions = rng.normal(size=(3, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = directions * (2 * np.pi / rng.uniform(140, 220, (3, 1)))
    centre = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    return Motion(
        np.reshape(turn.GetMatrix(), (3, 3)),
        np.array(centre),
        rng.uniform(-shift_mm, shift_mm, 3),
        rng.uniform(0.6, 1.0, 3) * bend_mm,
        waves,
        rng.uniform(0, 2 * np.pi, 3),
    )


def grid_points(image: Image) -> Points:
    """LPS points of all voxels, ``(X, Y, Z, 3)``."""
    index = np.moveaxis(np.indices(image.GetSize()), 0, -1) * np.asarray(image.GetSpacing())
    return index @ np.reshape(image.GetDirection(), (3, 3)).T + np.asarray(image.GetOrigin())


def deformed_ct(ct: Image, motion: Motion) -> Image:
    """The CT as it would have been scanned after the motion, in the same grid, linear interpolation, air outside."""
    points = grid_points(ct)
    displacement = motion(points.reshape(-1, 3)).reshape(points.shape) - points
    field = sitk.GetImageFromArray(np.ascontiguousarray(displacement.transpose(2, 1, 0, 3)), isVector=True)
    field.CopyInformation(ct)
    return sitk.Resample(ct, ct, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, -1000.0)


def residual_mm(motion: Motion, transform: sitk.Transform, grid: Image, inside: NDArray[np.bool_]) -> Points:
    """Of voxels inside a mask: how far from x the anatomy lies that a transform brings to x; 0 undoes the motion."""
    points = grid_points(grid)[inside]
    found = np.array([transform.TransformPoint(point) for point in points.tolist()])
    return np.linalg.norm(motion(found) - points, axis=1)


def image_of(array: NDArray[np.generic], affine: Points) -> Image:
    """Voxels ``(X, Y, Z)`` with a RAS affine as an image."""
    volume = Volume(array, affine, nib.Nifti1Header(), array.shape, path=None)  # type: ignore[arg-type]
    return to_image(volume)


__all__ = ["array_of", "deformed_ct", "grid_points", "image_like", "image_of", "known_motion", "residual_mm"]
