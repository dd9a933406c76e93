# SPDX-License-Identifier: Apache-2.0
"""Rotation and translation by SimpleITK: gradient descent on Mattes mutual information (IEEE TMI 22, 2003)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.preparation.images import Image

BINS = 40
SEED = 1
# Voxels that the metric looks at, drawn once for each level.
SAMPLES = 20_000
SHRINK, SIGMA_MM = (4, 2, 1), (4.0, 2.0, 0.0)


def register_rigidly(fixed: Image, moving: Image, mask: Image, start: sitk.Transform) -> sitk.Transform:
    """Rotation and translation, from a start, on three levels of resolution.

    Args:
        fixed: the MR, float32.
        moving: the CT, float32.
        mask: uint8, where in the fixed image to look.
        start: a translation.

    Returns:
        Point of the fixed image to point of the moving one, LPS mm. With one thread the same input gives the same.
    """
    centre = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
    begin = sitk.Euler3DTransform()
    begin.SetCenter(centre)
    begin.SetTranslation([e - c for e, c in zip(start.TransformPoint(centre), centre, strict=True)])
    voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(mask)))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([min(1.0, SAMPLES * factor**3 / voxels) for factor in SHRINK], SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SIGMA_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 200, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(begin, inPlace=False)
    found = method.Execute(fixed, moving)
    return found.GetNthTransform(0) if isinstance(found, sitk.CompositeTransform) else found
