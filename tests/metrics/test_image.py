# SPDX-License-Identifier: Apache-2.0
"""Image metrics against plain NumPy and the challenge's definitions, written out slowly."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sfg_med.metrics import SYNTHRAD2025_RANGE, bone_mae, masked_mae, ms_ssim, psnr_db, ssim
from sfg_med.metrics.ms_ssim import SCALE_WEIGHTS

FULL = (-1024.0, 3000.0)


def _pair(shape=(20, 24, 17), seed=0):
    generator = np.random.default_rng(seed)
    smooth = uniform_filter(generator.normal(0, 3000, shape), 3) + generator.normal(0, 1500, shape)
    reference = np.rint(smooth).astype(np.int16)
    prediction = np.rint(reference + generator.normal(30, 120, shape)).astype(np.int16)
    mask = np.zeros(shape, np.uint8)
    mask[2:-1, 3:-3, 1:-2] = 1
    return prediction, reference, mask


def _loop_errors(prediction, reference, mask, low=-math.inf, high=math.inf):
    errors = []
    for index in np.ndindex(reference.shape):
        if mask[index] > 0:
            clipped = [min(max(float(image[index]), low), high) for image in (prediction, reference)]
            errors.append(clipped[0] - clipped[1])
    return np.array(errors)


def test_mae_is_the_mean_over_masked_voxels_without_clipping():
    prediction, reference, mask = _pair()
    reference[10, 10, 10] = 20000
    expected = np.abs(_loop_errors(prediction, reference, mask)).mean()
    assert masked_mae(prediction, reference, mask) == pytest.approx(expected, rel=1e-12)
    assert masked_mae(prediction, reference) == pytest.approx(
        np.abs(prediction.astype(float) - reference).mean(), rel=1e-12
    )


def test_int16_does_not_overflow():
    reference = np.full((3, 3, 3), 30000, np.int16)
    assert masked_mae(np.full((3, 3, 3), -30000, np.int16), reference) == 60000
    assert psnr_db(np.full((3, 3, 3), -30000, np.int16), reference) == 0


def test_mae_in_bone_takes_the_reference_as_judge():
    prediction, reference, mask = _pair()
    bone = (mask > 0) & (reference > 150)
    expected = np.abs(prediction.astype(float) - reference)[bone].mean()
    assert bone_mae(prediction, reference, mask) == pytest.approx(expected, rel=1e-12)
    assert math.isnan(bone_mae(prediction, np.full_like(reference, 150), mask))


@pytest.mark.parametrize("limits", [FULL, SYNTHRAD2025_RANGE, (0.0, 1.0e3)])
def test_psnr_is_skimage_on_clipped_masked_voxels(limits):
    prediction, reference, mask = _pair()
    inside = mask > 0
    expected = peak_signal_noise_ratio(
        reference.astype(float).clip(*limits)[inside],
        prediction.astype(float).clip(*limits)[inside],
        data_range=limits[1] - limits[0],
    )
    assert psnr_db(prediction, reference, mask, limits) == pytest.approx(expected, rel=1e-12)
    errors = _loop_errors(prediction, reference, mask, *limits)
    by_hand = 20 * math.log10(limits[1] - limits[0]) - 10 * math.log10((errors**2).mean())
    assert psnr_db(prediction, reference, mask, limits) == pytest.approx(by_hand, rel=1e-12)


def _slow_ssim(prediction, reference, mask, low, high):
    """One 7 x 7 x 7 window after another, as the formula reads."""
    images = [np.where(mask > 0, np.clip(i.astype(float), low, high), low) - low for i in (prediction, reference)]
    c1, c2 = (0.01 * (high - low)) ** 2, (0.03 * (high - low)) ** 2
    values = []
    for centre in np.ndindex(reference.shape):
        inner = all(3 <= c < n - 3 for c, n in zip(centre, reference.shape, strict=True))
        if not inner or not mask[centre]:
            continue
        box = tuple(slice(c - 3, c + 4) for c in centre)
        x, y = images[0][box].ravel(), images[1][box].ravel()
        covariance = np.cov(x, y, ddof=1)
        luminance = (2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1)
        values.append(luminance * (2 * covariance[0, 1] + c2) / (covariance[0, 0] + covariance[1, 1] + c2))
    return np.mean(values)


def test_ssim_is_the_masked_mean_of_the_windows():
    prediction, reference, mask = _pair((13, 14, 12))
    assert ssim(prediction, reference, mask) == pytest.approx(_slow_ssim(prediction, reference, mask, *FULL), rel=1e-8)


def test_ssim_without_mask_is_skimage():
    prediction, reference, _ = _pair()
    clipped = [image.astype(float).clip(*FULL) + 1024 for image in (reference, prediction)]
    assert ssim(prediction, reference) == pytest.approx(structural_similarity(*clipped, data_range=4024), rel=1e-12)


def test_voxels_outside_the_mask_change_nothing():
    prediction, reference, mask = _pair((30, 30, 30))
    other = np.where(mask > 0, prediction, 777)
    for metric in (masked_mae, bone_mae, psnr_db, ssim, ms_ssim):
        assert metric(other, reference, mask) == metric(prediction, reference, mask)


def _challenge_ms_ssim(prediction, reference, mask, low, high, luminance):
    """SynthRAD2025's steps from methods.md 6.2, with its FFT and without any short cut."""
    x, y = (np.where(mask > 0, np.clip(i.astype(float), low, high), low) - low for i in (prediction, reference))
    pads = [((97 - n) // 2, 97 - n - (97 - n) // 2) if n < 97 else (0, 0) for n in x.shape]
    x, y, m = (np.pad(image, pads, mode="edge") for image in (x, y, mask.astype(float)))
    c1, c2 = (0.01 * (high - low)) ** 2, (0.03 * (high - low)) ** 2
    norm = 343 / 342
    result = 1.0
    for weight, light in zip(SCALE_WEIGHTS, luminance, strict=True):
        mx, my = uniform_filter(x, 7), uniform_filter(y, 7)
        vx, vy = norm * (uniform_filter(x * x, 7) - mx**2), norm * (uniform_filter(y * y, 7) - my**2)
        vxy = norm * (uniform_filter(x * y, 7) - mx * my)
        sx, sy = np.sqrt(np.maximum(vx, 0)), np.sqrt(np.maximum(vy, 0))
        level = np.maximum((2 * mx * my + c1) / (mx**2 + my**2 + c1), 0) ** light
        level = level * np.maximum((2 * sx * sy + c2) / (vx + vy + c2), 0) ** weight
        level = level * np.maximum((vxy + c2 / 2) / (sx * sy + c2 / 2), 0) ** weight
        core = (slice(3, -3),) * 3
        result *= np.clip(level[core][m[core] > 0].mean(), 0, 1)
        x, y = (fftconvolve(image, np.ones((2, 2, 2)) / 8, mode="same")[::2, ::2, ::2] for image in (x, y))
        m = m[::2, ::2, ::2]
    return result


@pytest.mark.parametrize("luminance", [None, (0, 0, 0, 0, 0.1333), (0, 0, 0, 0, 0)])
@pytest.mark.parametrize("limits", [FULL, SYNTHRAD2025_RANGE])
def test_ms_ssim_follows_the_challenge(luminance, limits):
    prediction, reference, mask = _pair((40, 101, 30))
    expected = _challenge_ms_ssim(prediction, reference, mask, *limits, luminance or SCALE_WEIGHTS)
    found = ms_ssim(prediction, reference, mask, limits, luminance_weights=luminance)
    assert found == pytest.approx(expected, rel=1e-7)
    assert 0 < found < 1


@pytest.mark.parametrize(
    ("metric", "best"), [(masked_mae, 0), (psnr_db, math.inf), (ssim, 1), (ms_ssim, 1), (bone_mae, 0)]
)
def test_a_perfect_image(metric, best):
    _, reference, mask = _pair()
    assert metric(reference, reference, mask) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("metric", [masked_mae, psnr_db, ssim, ms_ssim, bone_mae])
def test_nothing_to_judge_is_not_a_number(metric):
    prediction, reference, mask = _pair()
    assert math.isnan(metric(prediction, reference, np.zeros_like(mask)))


def test_ssim_of_a_thin_volume_is_not_a_number():
    prediction, reference, mask = (image[:, :, :6] for image in _pair())
    assert math.isnan(ssim(prediction, reference, mask))
    assert 0 < ms_ssim(prediction, reference) < 1  # padded


@pytest.mark.parametrize("metric", [masked_mae, psnr_db])
def test_other_shapes_are_refused(metric):
    prediction, reference, mask = _pair()
    with pytest.raises(ValueError, match="shapes differ"):
        metric(prediction[1:], reference, mask)
    with pytest.raises(ValueError, match="shapes differ"):
        metric(prediction, reference, mask[1:])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.integers(-400, 400))
def test_properties(seed, shift):
    prediction, reference, mask = _pair((9, 10, 11), seed)
    assert masked_mae(prediction, reference, mask) == masked_mae(reference, prediction, mask)
    assert masked_mae(reference + shift, reference, mask) == pytest.approx(abs(shift))
    flipped = [image[::-1, :, ::-1] for image in (prediction, reference, mask)]
    for metric in (masked_mae, psnr_db, ssim):
        assert metric(*flipped) == pytest.approx(metric(prediction, reference, mask), rel=1e-9)
    assert -1 <= ssim(prediction, reference, mask) <= 1
