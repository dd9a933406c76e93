# SPDX-License-Identifier: Apache-2.0
"""Deformation by elastix (Klein et al., IEEE TMI 29, 2010), through itk-elastix, the extra ``registration``."""

from __future__ import annotations

from typing import Any

import itk
import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.preparation.images import Image

# Distance of the spline's knots in the last of the levels; each level halves it.
KNOTS_MM = 30.0
LEVELS = 3
# Weight of the bending energy (Rueckert et al., IEEE TMI 18, 1999) against mutual information in nats: ten times less
# leaves more of a known motion, and folds where voxels are large.
BENDING = 500.0
_COMMON = {
    "NumberOfResolutions": LEVELS,
    "MaximumNumberOfIterations": 200,
    "NumberOfSpatialSamples": 2048,
    "Interpolator": "LinearInterpolator",
    "NewSamplesEveryIteration": True,
    "ImageSampler": "RandomCoordinate",
    "NumberOfHistogramBins": 32,
    "RandomSeed": 1,
    "AutomaticTransformInitialization": False,
    "WriteResultImage": False,
    "ErodeMask": False,
    # With several threads itk-elastix 0.25.4 now and then ends the process with a segmentation fault.
    "UseMultiThreadingForMetrics": False,
}


class ElastixEngine:
    """See :class:`~sfg_med.preparation.registration.engines.Engine`."""

    name = "elastix"

    def deformable(self, fixed: Image, moving: Image, mask: Image, there: Image) -> sitk.Transform:
        """Cubic B-splines with a penalty on bending."""
        options = {
            "Registration": "MultiMetricMultiResolutionRegistration",
            "Metric": ("AdvancedMattesMutualInformation", "TransformBendingEnergyPenalty"),
            "Metric0Weight": 1.0,
            "Metric1Weight": BENDING,
            "FinalGridSpacingInPhysicalUnits": KNOTS_MM,
        }
        return _spline(_run(fixed, moving, mask, there, options))


def _spline(method: Any) -> sitk.Transform:
    """elastix's result as a transform of SimpleITK; transformix would write files where it is called."""
    result = method.GetTransformParameterObject().GetParameterMap(0)
    frame = [float(value) for name in ("GridSize", "GridOrigin", "GridSpacing") for value in result[name]]
    # elastix writes matrices by columns
    directions = np.reshape([float(value) for value in result["GridDirection"]], (3, 3)).T
    spline = sitk.BSplineTransform(3, 3)
    spline.SetFixedParameters([*frame, *directions.ravel().tolist()])
    spline.SetParameters([float(value) for value in result["TransformParameters"]])
    return spline


def _run(fixed: Image, moving: Image, mask: Image, there: Image, options: dict[str, Any]) -> Any:
    parameters = itk.ParameterObject.New()
    settings = dict(parameters.GetDefaultParameterMap("bspline", LEVELS))
    settings.update({name: _words(value) for name, value in {**_COMMON, **options}.items()})
    parameters.AddParameterMap(settings)
    method = itk.ElastixRegistrationMethod.New(_to_itk(fixed), _to_itk(moving))
    method.SetFixedMask(_to_itk(mask))
    method.SetMovingMask(_to_itk(there))
    method.SetParameterObject(parameters)
    method.SetLogToConsole(False)
    method.SetNumberOfThreads(1)
    method.UpdateLargestPossibleRegion()
    return method


def _words(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


def _to_itk(image: Image) -> Any:
    copy = itk.image_from_array(sitk.GetArrayFromImage(image))
    copy.SetSpacing(image.GetSpacing())
    copy.SetOrigin(image.GetOrigin())
    copy.SetDirection(itk.matrix_from_array(np.reshape(image.GetDirection(), (3, 3))))
    return copy
