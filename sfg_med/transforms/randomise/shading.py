# SPDX-License-Identifier: Apache-2.0
"""The sensitivity of a receive coil."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from torch import Tensor

from sfg_med.transforms.randomise.base import RandImaged


class RandCoilShadingd(RandImaged):
    """Brighter near a coil: the image times ``1 + a / (1 + (d / b)^2)``, d the distance to a point drawn at random.

    A surface coil lies at the edge of the image, an endorectal one inside it; their sensitivity falls off with distance
    much faster than the low-order polynomials of MONAI's RandBiasField do.

    Args:
        keys: images to change.
        spacing_mm: voxel size along the axes.
        prob: probability of a change.
        gain: lowest and highest gain a near the coil.
        reach_mm: lowest and highest distance b at which half of the gain is left.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: Sequence[float],
        prob: float = 0.2,
        gain: tuple[float, float] = (0.3, 4.0),
        reach_mm: tuple[float, float] = (25.0, 120.0),
    ) -> None:
        super().__init__(keys, prob)
        self.spacing_mm, self.gain, self.reach_mm = tuple(spacing_mm), gain, reach_mm

    def draw(self) -> dict[str, Any]:
        """Where the coil is, in parts of the image's size, its gain and its reach."""
        gain = log_uniform(self.R, *self.gain)
        return {"centre": self.R.uniform(0.0, 1.0, 3).tolist(), "gain": gain, "reach": self.R.uniform(*self.reach_mm)}

    def change(self, image: Tensor, **drawn: Any) -> Tensor:
        """Multiply by the sensitivity."""
        squared = torch.zeros(())
        for axis, (n, mm, place) in enumerate(zip(image.shape[1:], self.spacing_mm, drawn["centre"], strict=True)):
            offset = (torch.arange(n, dtype=torch.float32) - place * (n - 1)) * mm / drawn["reach"]
            squared = squared + (offset**2).reshape([-1 if a == axis else 1 for a in range(3)])
        return image * (1 + drawn["gain"] / (1 + squared))


def log_uniform(random: Any, low: float, high: float) -> float:
    """A number between two positive ones, uniform on a logarithmic scale."""
    return float(low * (high / low) ** random.uniform())
