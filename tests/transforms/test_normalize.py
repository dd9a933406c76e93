# SPDX-License-Identifier: Apache-2.0
"""The scale of an image, whatever its unit, does not matter to its normalisation."""

from __future__ import annotations

import pytest
import torch

from sfg_med.transforms import NormalizeInput


def _image() -> torch.Tensor:
    image = torch.rand((1, 12, 11, 10), generator=torch.Generator().manual_seed(0)) * 5
    image[:, 3:9, 3:9, 3:9] += 400 * torch.rand((6, 6, 6), generator=torch.Generator().manual_seed(1)) + 100
    return image


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e-9, 1e-6, 1e-3, 1e3, 1e9, 1e18, 1e25])
def test_any_scale(scale: float) -> None:
    found = NormalizeInput()(_image() * scale)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, NormalizeInput()(_image()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1e-9, 7.0, -7.0, 1e20])
def test_one_value_is_zero(value: float) -> None:
    assert NormalizeInput()(torch.full((1, 9, 9, 9), value)).abs().max() < 1e-3


def test_usual_scales_are_computed_as_ever() -> None:
    values = _image()
    patient = values[values > 0.1 * torch.kthvalue(values.flatten(), 1307).values]
    expected = torch.clamp((values - patient.mean()) / patient.std(), -5, 5)
    assert torch.equal(NormalizeInput()(values), expected)
