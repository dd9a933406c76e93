# SPDX-License-Identifier: Apache-2.0
"""Pairs with a known motion: a CT is turned, shifted and bent by a function that is written down, not estimated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from sfg_med.preparation.grid import AIR_HU
from sfg_med.preparation.images import Image

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """``g(y) = R (y - c) + c + t + bend(y)``: where the tissue at a point y of the moved CT was before, LPS mm.

    Args:
        rotation: R, ``(3, 3)``.
        centre: c, ``(3,)``.
        shift: t, ``(3,)``.
        amplitude: of the bend along x, y and z, ``(3,)``.
        waves: wave vector in radians a mm of each component's sine, ``(3, 3)``.
        phases: of each component, ``(3,)``.
    """

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
    """A random motion about the middle of an image.

    Args:
        seed: random seed.
        image: what is moved.
        degrees: largest angle about each axis.
        shift_mm: largest shift along each axis.
        bend_mm: largest amplitude of the bend along each axis; its sine waves are 140 to 220 mm long.
    """
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


def moved_image(image: Image, motion: Motion, fill: float = AIR_HU) -> Image:
    """The image as it would have been scanned after the motion, in the same grid, interpolated linearly."""
    points = _points(image)
    displacement = motion(points.reshape(-1, 3)).reshape(points.shape) - points
    field = sitk.GetImageFromArray(np.ascontiguousarray(displacement.transpose(2, 1, 0, 3)), isVector=True)
    field.CopyInformation(image)
    return sitk.Resample(image, image, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, fill)


def residual_mm(motion: Motion, transform: sitk.Transform, grid: Image, inside: NDArray[np.bool_]) -> Points:
    """Of voxels inside a mask: how far from x the anatomy lies that a transform brings to x; 0 undoes the motion.

    Args:
        motion: what was done to the moving image.
        transform: point of the fixed image to point of the moving one.
        grid: the fixed image.
        inside: ``(X, Y, Z)``.

    Returns:
        One distance for each voxel.
    """
    points = _points(grid)[inside]
    found = np.array([transform.TransformPoint(point) for point in points.tolist()])
    return np.linalg.norm(motion(found) - points, axis=1)


def _points(image: Image) -> Points:
    """LPS points of all voxels, ``(X, Y, Z, 3)``."""
    index = np.moveaxis(np.indices(image.GetSize()), 0, -1) * np.asarray(image.GetSpacing())
    return index @ np.reshape(image.GetDirection(), (3, 3)).T + np.asarray(image.GetOrigin())
