# SPDX-License-Identifier: Apache-2.0
"""Masked multi-scale structural similarity by the definition of the SynthRAD2025 challenge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter

from sfg_med.metrics.image import SSIM_WINDOW, SYNTHRAD2023_RANGE, interior_mean, prepare_similarity

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_K1, _K2 = 0.01, 0.03
_Voxel = TypeVar("_Voxel", bound=np.generic)


def ms_ssim(
    prediction: ArrayLike,
    reference: ArrayLike,
    mask: ArrayLike | None = None,
    value_range: tuple[float, float] = SYNTHRAD2023_RANGE,
    *,
    scale_weights: Sequence[float] = SCALE_WEIGHTS,
    luminance_weights: Sequence[float] | None = None,
) -> float:
    """Compare two images at five scales inside the mask.

    Args:
        prediction: synthesised image, ``(X, Y, Z)``.
        reference: true image on the same grid.
        mask: voxels that count (> 0); ``None`` means all.
        value_range: range that both images are clipped to, in their unit.
        scale_weights: exponent of contrast and structure at each scale, finest first.
        luminance_weights: exponent of luminance at each scale. ``None`` takes ``scale_weights``, as the
            challenge code does when it runs (its text names other weights, in a branch that cannot be
            reached). Wang et al. (2003) weigh the coarsest scale only: ``(0, 0, 0, 0, 0.1333)``.

    Returns:
        Product over the scales of the masked mean similarity, each clipped to [0, 1]; NaN if a scale has no
        masked voxel left.
    """
    predicted, expected, inside = prepare_similarity(prediction, reference, mask, value_range)
    # Four halvings must leave one window: 6 * 2^4 + 1 = 97.
    smallest = (SSIM_WINDOW - 1) * 2 ** (len(scale_weights) - 1) + 1
    predicted, expected, inside = (
        _pad_to(predicted, smallest),
        _pad_to(expected, smallest),
        _pad_to(inside, smallest),
    )
    result = 1.0
    for weight, luminance in zip(scale_weights, luminance_weights or scale_weights, strict=True):
        quality = _similarity_map(predicted, expected, value_range[1] - value_range[0], luminance, weight)
        result *= float(np.clip(interior_mean(quality, inside), 0, 1))
        predicted, expected, inside = _halve(predicted), _halve(expected), inside[_every_other(inside)]
    return result if math.isfinite(result) else math.nan


def _pad_to(image: NDArray[_Voxel], size: int) -> NDArray[_Voxel]:
    missing = [max(0, size - extent) for extent in image.shape]
    return np.pad(image, [(m // 2, m - m // 2) for m in missing], mode="edge")


def _every_other(image: NDArray[_Voxel]) -> tuple[slice, ...]:
    return (slice(None, None, 2),) * image.ndim


def _halve(image: NDArray[np.float64]) -> NDArray[np.float64]:
    # The challenge convolves with 2 x 2 x 2 ones / 8 and zeros outside: the same numbers without an FFT.
    return uniform_filter(image, size=2, mode="constant", cval=0.0)[_every_other(image)]


def _similarity_map(
    first: NDArray[np.float64], second: NDArray[np.float64], peak: float, luminance: float, weight: float
) -> NDArray[np.float64]:
    """Luminance ** luminance * (contrast * structure) ** weight with a uniform window of 7 voxels."""
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    c3 = c2 / 2
    count = SSIM_WINDOW**first.ndim
    sample = count / (count - 1)
    mean_1, mean_2 = _window(first), _window(second)
    variance_1 = sample * (_window(first * first) - mean_1 * mean_1)
    variance_2 = sample * (_window(second * second) - mean_2 * mean_2)
    covariance = sample * (_window(first * second) - mean_1 * mean_2)
    deviations = np.sqrt(variance_1.clip(min=0)) * np.sqrt(variance_2.clip(min=0))
    contrast = ((2 * deviations + c2) / (variance_1 + variance_2 + c2)).clip(min=0)
    structure = ((covariance + c3) / (deviations + c3)).clip(min=0)
    brightness = ((2 * mean_1 * mean_2 + c1) / (mean_1 * mean_1 + mean_2 * mean_2 + c1)).clip(min=0)
    result: NDArray[np.float64] = brightness**luminance * contrast**weight * structure**weight
    return result


def _window(image: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = uniform_filter(image, size=SSIM_WINDOW)
    return result
