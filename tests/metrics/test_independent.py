# SPDX-License-Identifier: Apache-2.0
"""The challenges' metrics once more, in plain NumPy and scikit-image, on awkward masks and sizes."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sfg_med.metrics import DEFINITIONS, bone_mae, masked_mae, ms_ssim, organ_dice, organ_hd95_mm, psnr_db, ssim

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SHAPES = [(30, 41, 26), (9, 8, 7), (3, 4, 5), (1, 1, 1)]


def _case(shape, seed=0):
    """Blocks of tissue with noise, in a mask with holes that leaves the border out where there is room for one."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(-900, 1500, [math.ceil(n / 4) for n in shape])
    reference = np.kron(coarse, np.ones((4, 4, 4)))[tuple(map(slice, shape))] + generator.normal(0, 30, shape)
    prediction = reference * 0.9 + generator.normal(20, 60, shape)
    mask = generator.random(shape) > 0.1
    if min(shape) > 6:
        mask[0], mask[:, -1] = False, False
    mask[tuple(n // 2 for n in shape)] = True
    return np.rint(prediction).astype(np.int16), np.rint(reference).astype(np.int16), mask.astype(np.uint8)


def _filled(image, mask, limits):
    return np.where(mask > 0, image.astype(float).clip(*limits), limits[0]) - limits[0]


def _window_means(image, size=7):
    """Means of all windows that lie inside, by sums of sums."""
    for axis in range(3):
        total = np.cumsum(np.insert(image, 0, 0, axis), axis)
        length = image.shape[axis]
        upper, lower = (total.take(range(start, start + length - size + 1), axis) for start in (size, 0))
        image = (upper - lower) / size
    return image


def _plain_ms_ssim(prediction, reference, mask, limits):
    x, y = _filled(prediction, mask, limits), _filled(reference, mask, limits)
    pads = [(max(0, 97 - n) // 2, max(0, 97 - n) - max(0, 97 - n) // 2) for n in x.shape]
    x, y, m = (np.pad(image, pads, mode="edge") for image in (x, y, mask > 0))
    c1, c2 = ((k * (limits[1] - limits[0])) ** 2 for k in (0.01, 0.03))
    result = 1.0
    for weight in WEIGHTS:
        mx, my = _window_means(x), _window_means(y)
        vx, vy = (343 / 342 * (_window_means(i * i) - mean**2).clip(0) for i, mean in ((x, mx), (y, my)))
        both = 343 / 342 * (_window_means(x * y) - mx * my)
        light = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        contrast = (2 * np.sqrt(vx * vy) + c2) / (vx + vy + c2)
        structure = ((both + c2 / 2) / (np.sqrt(vx * vy) + c2 / 2)).clip(0)
        inside = m[3:-3, 3:-3, 3:-3]
        result *= (
            min(1.0, float(((light * contrast * structure) ** weight)[inside].mean())) if inside.any() else math.nan
        )
        x, y = (_halved(image) for image in (x, y))
        m = m[::2, ::2, ::2]
    return result


def _halved(image):
    padded = np.pad(image, ((1, 0), (1, 0), (1, 0)))
    a, b, c = image.shape
    blocks = [padded[i : i + a, j : j + b, k : k + c] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    return (sum(blocks) / 8)[::2, ::2, ::2]


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_images(shape, definition):
    limits = DEFINITIONS[definition]
    assert limits == {"synthrad2023": (-1024, 3000), "synthrad2025": (-1024, 3071)}[definition]
    prediction, reference, mask = _case(shape)
    p, r, inside = prediction.astype(float), reference.astype(float), mask > 0
    assert masked_mae(prediction, reference, mask) == pytest.approx(
        np.sum(np.abs(p - r) * inside) / inside.sum(), rel=1e-4
    )
    bone = inside & (r > 150)
    expected = np.abs(p - r)[bone].mean() if bone.any() else math.nan
    assert bone_mae(prediction, reference, mask) == pytest.approx(expected, rel=1e-4, nan_ok=True)
    clipped = [image.clip(*limits)[inside] for image in (r, p)]
    expected = peak_signal_noise_ratio(*clipped, data_range=limits[1] - limits[0])
    assert psnr_db(prediction, reference, mask, limits) == pytest.approx(expected, rel=1e-4)
    found = ms_ssim(prediction, reference, mask, limits)
    assert found == pytest.approx(_plain_ms_ssim(prediction, reference, mask, limits), rel=1e-4, nan_ok=True)
    assert math.isnan(found) or 0 < found < 1
    if min(shape) < 7:
        assert math.isnan(ssim(prediction, reference, mask, limits))
        return
    images = [_filled(image, mask, limits) for image in (reference, prediction)]
    _, quality = structural_similarity(*images, data_range=limits[1] - limits[0], win_size=7, full=True)
    core = (slice(3, -3),) * 3
    expected = quality[core][inside[core]].mean() if inside[core].any() else math.nan
    assert ssim(prediction, reference, mask, limits) == pytest.approx(expected, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_organs_of_any_size(shape):
    prediction, reference, _ = (image > 300 for image in _case(shape, 3))
    for pair in ((prediction, reference), (prediction, np.zeros(shape, bool)), (np.zeros(shape, bool), reference)):
        sizes = [int(mask.sum()) for mask in pair]
        expected = 2 * int((pair[0] & pair[1]).sum()) / sum(sizes) if sizes[1] else math.nan
        assert organ_dice(*pair) == pytest.approx(expected, rel=1e-4, nan_ok=True)
        assert math.isnan(organ_hd95_mm(*pair, (1, 2, 3))) == (min(sizes) == 0)
