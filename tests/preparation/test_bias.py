# SPDX-License-Identifier: Apache-2.0
"""N4 takes a known bias field away."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.preparation.bias import correct_bias
from sfg_med.preparation.images import array_of, image_like


def test_a_known_field_is_flattened_and_the_mean_kept() -> None:
    shape, spacing = (48, 36, 24), (6.0, 6.0, 8.0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    rng = np.random.default_rng(0)
    body = (x / 0.9) ** 2 + (y / 0.85) ** 2 < 1
    fat = body & ((x / 0.75) ** 2 + (y / 0.7) ** 2 > 1)
    bladder = (x**2 + (y - 0.2) ** 2 + z**2) < 0.08
    muscle = body & ~fat & ~bladder
    tissue = 200.0 * muscle + 700.0 * fat + 900.0 * bladder
    field = np.exp(0.5 * x - 0.3 * y**2 + 0.25 * y + 0.2 * x * z)
    image = np.abs(tissue * field + rng.normal(0, 4, shape)).astype(np.float32)
    grid = sitk.Image(*shape, sitk.sitkFloat32)
    grid.SetSpacing(spacing)

    corrected, spread = correct_bias(image_like(image, grid), image_like(body, grid))

    after = array_of(corrected)
    variation = [float(v[muscle].std() / v[muscle].mean()) for v in (image, after)]
    assert variation[0] > 0.2
    assert variation[1] < variation[0] / 3
    np.testing.assert_allclose(after[body].mean(), image[body].mean(), rtol=1e-3)
    low, high = np.percentile(field[body], [5, 95])
    assert 0.6 * np.log(high / low) < np.log(spread) < 1.4 * np.log(high / low)
    # tissues keep their order: N4 must not flatten contrast
    assert after[fat].mean() > 2.5 * after[muscle].mean()
