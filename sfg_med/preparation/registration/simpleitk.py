# SPDX-License-Identifier: Apache-2.0
"""Registration by SimpleITK: Mattes mutual information; rigid by gradient descent, B-splines by L-BFGS-B."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.preparation.images import Image

BINS = 40
SEED = 1
# Voxels that the metric looks at, drawn once for each level.
SAMPLES = 20_000
# Of each level of the deformation: distance of the spline's knots (mm), shrink factor, Gaussian (mm), iterations.
LEVELS = ((80.0, 2, 3.0, 20), (40.0, 1, 0.0, 20))


class SimpleItkEngine:
    """See :class:`~sfg_med.preparation.registration.engines.Engine`."""

    name = "simpleitk"

    def rigid(self, fixed: Image, moving: Image, mask: Image, start: sitk.Transform) -> sitk.Transform:
        """Three levels of resolution."""
        centre = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
        begin = sitk.Euler3DTransform()
        begin.SetCenter(centre)
        begin.SetTranslation([e - c for e, c in zip(start.TransformPoint(centre), centre, strict=True)])
        method = _method(mask, shrink=(4, 2, 1), sigma_mm=(4.0, 2.0, 0.0))
        method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 200, relaxationFactor=0.6)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(begin, inPlace=False)
        found = method.Execute(fixed, moving)
        return found.GetNthTransform(0) if isinstance(found, sitk.CompositeTransform) else found

    def deformable(self, fixed: Image, moving: Image, mask: Image, there: Image) -> sitk.Transform:
        """One B-spline a level, each in front of the one before: SimpleITK's L-BFGS-B cannot refine knots itself."""
        extent = [n * s for n, s in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
        found = sitk.CompositeTransform(3)
        for knots_mm, shrink, sigma_mm, iterations in LEVELS:
            begin = sitk.BSplineTransformInitializer(fixed, [max(1, round(e / knots_mm)) for e in extent], 3)
            method = _method(mask, shrink=(shrink,), sigma_mm=(sigma_mm,))
            method.SetOptimizerAsLBFGSB(gradientConvergenceTolerance=1e-5, numberOfIterations=iterations)
            method.SetInitialTransform(begin, inPlace=True)
            method.SetMetricMovingMask(sitk.Resample(there, there, found, sitk.sitkNearestNeighbor, 0))
            method.Execute(fixed, sitk.Resample(moving, moving, found, sitk.sitkLinear, 0.0))
            found.AddTransform(begin)
        return found


def _method(mask: Image, shrink: tuple[int, ...], sigma_mm: tuple[float, ...]) -> sitk.ImageRegistrationMethod:
    voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(mask)))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([min(1.0, SAMPLES * factor**3 / voxels) for factor in shrink], SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(sigma_mm)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method
