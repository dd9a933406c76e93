# SPDX-License-Identifier: Apache-2.0
"""Deformation by SimpleITK: gradient descent on Mattes mutual information (Mattes et al., IEEE TMI 22, 2003)."""

from __future__ import annotations

import SimpleITK as sitk  # noqa: N813

from sfg_med.preparation.grid import displacements, resample, with_spacing
from sfg_med.preparation.images import Image

BINS = 40
# The deformation is found on voxels of this size; each step and the sum of all are smoothed by Gaussians of these
# variances (in voxels). B-splines without a penalty on bending made a known motion worse; SimpleITK has no penalty.
FIELD_MM = 6.0
STEP_VARIANCE, FIELD_VARIANCE = 6.0, 1.0
STEPS = 100


class SimpleItkEngine:
    """See :class:`~sfg_med.preparation.registration.engines.Engine`."""

    name = "simpleitk"

    def deformable(self, fixed: Image, moving: Image, mask: Image, there: Image) -> sitk.Transform:
        """A displacement at every voxel of a coarse grid, smoothed at every step (Thirion, Med Image Anal 2, 1998)."""
        grid = with_spacing(fixed, [max(FIELD_MM, s) for s in fixed.GetSpacing()])
        blur = FIELD_MM / 2
        coarse = resample(sitk.SmoothingRecursiveGaussian(fixed, blur), grid)
        field = sitk.DisplacementFieldTransform(displacements(sitk.Transform(3, sitk.sitkIdentity), grid))
        field.SetSmoothingGaussianOnUpdate(STEP_VARIANCE, FIELD_VARIANCE)
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(BINS)
        method.SetMetricFixedMask(resample(mask, grid, labels=True))
        method.SetMetricMovingMask(there)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsGradientDescent(1.0, STEPS, 1e-7, 10, method.EachIteration)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(field, inPlace=True)
        method.Execute(coarse, sitk.SmoothingRecursiveGaussian(moving, blur))
        return field
