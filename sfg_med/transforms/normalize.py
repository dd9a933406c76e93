# SPDX-License-Identifier: Apache-2.0
"""Intensity normalisation of the input image, the same in training and inference."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from torch import Tensor

# Air in an MR is noise: voxels under a tenth of the bright end are not the patient.
FOREGROUND = 0.1
LIMIT = 5.0
# Largest values between which squares are no concern in float32; other images are computed in float64.
ORDINARY = (1e-3, 1e6)


class NormalizeInput(Transform):
    """Zero mean and unit variance over the patient's voxels, clipped to +-5.

    The patient is taken to be what is brighter than a tenth of the 99th percentile; scanner units of any scale,
    offsets of the window and the amount of air around the patient therefore do not matter.
    """

    def __call__(self, image: Tensor) -> Tensor:
        """``(C, *spatial)`` in any unit to the same shape, float32."""
        values, floor = _computable(image.float())
        bright = bright_end(values)
        patient = values[values > FOREGROUND * bright]
        if patient.numel() < 2:
            patient = values.flatten()
        deviation = torch.clamp(patient.std(), min=floor)
        return torch.clamp((values - patient.mean()) / deviation, -LIMIT, LIMIT).float()


def _computable(values: Tensor) -> tuple[Tensor, float]:
    """Values in a type that holds their squares, and the deviation below which a patient is one value."""
    low, high = torch.aminmax(values)
    largest = max(abs(low.item()), abs(high.item()))
    if largest == 0 or ORDINARY[0] <= largest <= ORDINARY[1]:
        return values, 1e-6
    return values.double(), 1e-6 * largest


def bright_end(values: Tensor) -> Tensor:
    """The 99th percentile, the smallest value that 99 % of the voxels do not exceed; a scalar tensor.

    A selection takes a tenth of the time of MONAI's percentile, which sorts.
    """
    flat = values.flatten()
    return torch.kthvalue(flat, max(1, math.ceil(0.99 * flat.numel()))).values


class NormalizeInputd(MapTransform):
    """Dictionary version of :class:`NormalizeInput`."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.normalize = NormalizeInput()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise the keys."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.normalize(result[key])
        return result
