# SPDX-License-Identifier: Apache-2.0
"""Voxel-wise metrics of a synthesised image, by the definitions of the SynthRAD2023 challenge.

Every function takes plain arrays of one case, ``(X, Y, Z)``, in the image's own unit. ``mask`` selects the
voxels that count (> 0; the body in SynthRAD); ``None`` means all. Without a voxel to judge the answer is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.metrics import structural_similarity

SYNTHRAD2023_RANGE = (-1024.0, 3000.0)
"""HU range that PSNR and SSIM of SynthRAD2023 clip to, and the public SynthRAD2025 code as well."""

SYNTHRAD2025_RANGE = (-1024.0, 3071.0)
"""HU range of the final SynthRAD2025 evaluation container."""

DEFINITIONS = {"synthrad2023": SYNTHRAD2023_RANGE, "synthrad2025": SYNTHRAD2025_RANGE}
"""Challenge to the HU range of its metrics; all else that this package computes is the same in both."""

BONE_HU = 150.0
"""Reference voxels above this value count as bone in :func:`bone_mae`."""

SSIM_WINDOW = 7
_BORDER = (SSIM_WINDOW - 1) // 2


def masked_mae(prediction: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Mean absolute error inside the mask, without clipping, in the image's unit."""
    predicted, expected = _inside(prediction, reference, mask)
    return float(np.abs(predicted - expected).mean()) if expected.size else math.nan


def bone_mae(
    prediction: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None, *, threshold: float = BONE_HU
) -> float:
    """Mean absolute error where the reference is above ``threshold`` (HU) inside the mask."""
    bone = np.asarray(reference) > threshold
    return masked_mae(prediction, reference, bone if mask is None else bone & (np.asarray(mask) > 0))


def psnr_db(
    prediction: ArrayLike,
    reference: ArrayLike,
    mask: ArrayLike | None = None,
    value_range: tuple[float, float] = SYNTHRAD2023_RANGE,
) -> float:
    """Peak signal-to-noise ratio inside the mask in dB; both images are clipped to ``value_range`` first.

    The peak is the width of the range, not the image's own maximum. Equal images give infinity.
    """
    low, high = value_range
    predicted, expected = _inside(prediction, reference, mask)
    if not expected.size:
        return math.nan
    mean_square = float(np.square(predicted.clip(low, high) - expected.clip(low, high)).mean())
    return 10 * math.log10((high - low) ** 2 / mean_square) if mean_square else math.inf


def ssim(
    prediction: ArrayLike,
    reference: ArrayLike,
    mask: ArrayLike | None = None,
    value_range: tuple[float, float] = SYNTHRAD2023_RANGE,
) -> float:
    """Structural similarity: mean of scikit-image's 3-D map inside the mask, three border voxels left out.

    Both images are clipped to ``value_range``, set to its lower end outside the mask and shifted to be
    non-negative. NaN where the volume is thinner than the window of 7 voxels.
    """
    if min(np.shape(reference)) < SSIM_WINDOW:
        return math.nan
    predicted, expected, inside = prepare_similarity(prediction, reference, mask, value_range)
    width = value_range[1] - value_range[0]
    _, quality = structural_similarity(expected, predicted, data_range=width, full=True)
    return interior_mean(quality, inside)


def prepare_similarity(
    prediction: ArrayLike, reference: ArrayLike, mask: ArrayLike | None, value_range: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Clip, mask and shift two images as the challenges do before any structural similarity.

    Returns:
        Prediction, reference (both >= 0 where the range starts below 0) and the mask, ``(X, Y, Z)`` each.
    """
    low, high = value_range
    inside = np.ones(np.shape(reference), dtype=bool) if mask is None else np.asarray(mask) > 0
    shift = min(low, 0.0)
    predicted, expected = (
        np.where(inside, np.clip(np.asarray(image, dtype=np.float64), low, high), low) - shift
        for image in (prediction, reference)
    )
    return predicted, expected, inside


def interior_mean(quality: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    """Mean of a similarity map inside the mask, without the border where windows hang over the edge."""
    core = (slice(_BORDER, -_BORDER),) * quality.ndim
    values = quality[core][inside[core]]
    return float(values.mean()) if values.size else math.nan


def _inside(
    prediction: ArrayLike, reference: ArrayLike, mask: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    predicted, expected = np.asarray(prediction), np.asarray(reference)
    selected = np.ones(expected.shape, dtype=bool) if mask is None else np.asarray(mask) > 0
    if not predicted.shape == expected.shape == selected.shape:
        raise ValueError(f"shapes differ: {predicted.shape}, {expected.shape}, mask {selected.shape}")
    return predicted[selected].astype(np.float64), expected[selected].astype(np.float64)
