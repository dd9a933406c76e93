# SPDX-License-Identifier: Apache-2.0
"""Figures that say whether a registration can be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from sfg_med.preparation.grid import displacements
from sfg_med.preparation.images import Image, array_of

BINS = 32


def mutual_information(first: NDArray[Any], second: NDArray[Any], inside: NDArray[Any]) -> float:
    """Mutual information in nats of two images ``(X, Y, Z)`` inside a mask, from a joint histogram of 32 x 32 bins."""
    counts, _, _ = np.histogram2d(first[inside], second[inside], bins=BINS)
    joint = counts / max(counts.sum(), 1.0)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float(np.sum(joint[there] * np.log(joint[there] / apart[there])))


def overlap(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Dice of two masks; 0 where both are empty."""
    return float(2.0 * np.logical_and(first, second).sum() / max(int(first.sum() + second.sum()), 1))


def deformation(transform: sitk.Transform, grid: Image, inside: NDArray[np.bool_]) -> dict[str, float]:
    """How far and how regularly a transform moves the points of a grid inside a mask.

    Returns:
        Percentiles of the displacement in mm (``displacement_mm_p50``, ``p95``, ``max``), the smallest Jacobian
        determinant ``jacobian_min`` (1: volume kept, 0 or less: folded), and ``folded_percent`` of the voxels.
    """
    field = displacements(transform, grid)
    length = np.linalg.norm(sitk.GetArrayViewFromImage(field), axis=-1).T[inside]
    jacobian = array_of(sitk.DisplacementFieldJacobianDeterminant(field))[inside]
    p50, p95 = np.percentile(length, [50, 95])
    return {
        "displacement_mm_p50": round(float(p50), 3),
        "displacement_mm_p95": round(float(p95), 3),
        "displacement_mm_max": round(float(length.max()), 3),
        "jacobian_min": round(float(jacobian.min()), 4),
        "folded_percent": round(100.0 * float((jacobian <= 0).mean()), 4),
    }
