# SPDX-License-Identifier: Apache-2.0
"""Coarser voxels and thick slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.config import KeysCollection
from torch import Tensor
from torch.nn.functional import interpolate

from sfg_med.transforms.randomise.base import RandImaged


class RandResolutiond(RandImaged):
    """Acquire the image with thicker slices along one axis, or with coarser voxels altogether, and resample it back.

    Averaging over the thick voxel makes partial volume; the way back is linear, as a predictor's resampling is.
    MONAI's RandSimulateLowResolution picks voxels without averaging and shrinks all axes alike.

    Args:
        keys: images to change.
        spacing_mm: voxel size along the axes.
        prob: probability of a change.
        thickest_mm: largest slice thickness.
        axes: which axis the slices are stacked along, drawn from these; repeat one to draw it more often.
        isotropic: probability of coarser voxels along all axes instead, up to 1.6 times.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: Sequence[float],
        prob: float = 0.5,
        thickest_mm: float = 6.0,
        axes: Sequence[int] = (2, 2, 2, 1, 0),
        isotropic: float = 0.25,
    ) -> None:
        super().__init__(keys, prob)
        self.spacing_mm, self.thickest_mm = tuple(spacing_mm), thickest_mm
        self.axes, self.isotropic = tuple(axes), isotropic

    def draw(self) -> dict[str, Any]:
        """Factor by which voxels grow along each axis."""
        if self.R.uniform() < self.isotropic:
            return {"factors": [float(self.R.uniform(1.0, 1.6))] * 3}
        axis = self.axes[self.R.randint(len(self.axes))]
        factors = [1.0, 1.0, 1.0]
        factors[axis] = float(self.R.uniform(1.0, max(1.0, self.thickest_mm / self.spacing_mm[axis])))
        return {"factors": factors}

    def change(self, image: Tensor, **drawn: Any) -> Tensor:
        """Average over voxels that are ``factors`` larger, and interpolate back."""
        shape = tuple(image.shape[1:])
        coarse = tuple(max(2, round(n / f)) for n, f in zip(shape, drawn["factors"], strict=True))
        # area: the mean over what a coarse voxel covers
        small = interpolate(image[None], size=coarse, mode="area")
        return interpolate(small, size=shape, mode="trilinear", align_corners=False)[0]
