# SPDX-License-Identifier: Apache-2.0
"""Correction of the slow change of brightness across an MR that coils cause."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.preparation.images import Image

# The field is fitted on voxels of about this size; it varies over centimetres.
FIT_MM = 6.0
ITERATIONS = (50, 50, 30)
# Distance of the spline's knots at the first level (mm); each of the three levels halves it.
KNOTS_MM = 200.0
# N4 works on logarithms; this part of the mean is added to keep those of dark voxels finite.
_FLOOR = 1e-3


def correct_bias(mr: Image, body: Image) -> tuple[Image, float]:
    """N4 (Tustison et al., IEEE TMI 2010) by SimpleITK, fitted on a shrunk image, applied to the full one.

    The mean inside the body stays what it was.

    Args:
        mr: float32, signal of one contrast.
        body: uint8 mask in the same grid; air must not take part.

    Returns:
        The corrected image, and the field's range inside the body: 95th over 5th percentile.
    """
    shrink = [max(1, round(FIT_MM / s)) for s in mr.GetSpacing()]
    shrink = [min(f, max(1, n // 8)) for f, n in zip(shrink, mr.GetSize(), strict=True)]
    inside = sitk.GetArrayViewFromImage(body) > 0
    mean = float(sitk.GetArrayViewFromImage(mr)[inside].mean())
    lifted = sitk.Maximum(mr, _FLOOR * mean)
    small = sitk.Shrink(lifted, shrink)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(list(ITERATIONS))
    extent = [n * s for n, s in zip(small.GetSize(), small.GetSpacing(), strict=True)]
    # order 3 splines: as many control points as knot intervals, plus three
    corrector.SetNumberOfControlPoints([max(1, round(e / KNOTS_MM)) + 3 for e in extent])
    corrector.Execute(small, sitk.Shrink(body, shrink))
    field = sitk.Exp(corrector.GetLogBiasFieldAsImage(mr))
    values = sitk.GetArrayViewFromImage(field)[inside]
    low, high = np.percentile(values, [5, 95])
    corrected = sitk.Divide(mr, sitk.Cast(field, mr.GetPixelID()))
    after = float(sitk.GetArrayViewFromImage(corrected)[inside].mean())
    return corrected * (mean / after), float(high / low)
