# SPDX-License-Identifier: Apache-2.0
"""Registration by SimpleITK: Mattes mutual information; gradient descent, with a line search for B-splines."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.preparation.images import Image

BINS = 40
SEED = 1
# Voxels that the metric looks at, drawn once for each level.
SAMPLES = 20_000
# Distance of the spline's knots in mm, coarsest level first; each level refines the one before.
KNOTS_MM = (120.0, 60.0, 40.0)


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
        """Cubic B-splines on three grids, each made from the coarser one."""
        extent = [n * s for n, s in zip(fixed.GetSize(), fixed.GetSpacing(), strict=True)]
        spline = sitk.BSplineTransformInitializer(fixed, [max(1, round(e / KNOTS_MM[0])) for e in extent], 3)
        method = _method(mask, shrink=(3, 2, 1), sigma_mm=(6.0, 3.0, 0.0))
        method.SetMetricMovingMask(there)
        method.SetOptimizerAsGradientDescentLineSearch(5.0, 100, convergenceMinimumValue=1e-5, convergenceWindowSize=5)
        factors = [round(KNOTS_MM[0] / knots) for knots in KNOTS_MM]
        method.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=factors)
        method.Execute(fixed, moving)
        return spline


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
