# SPDX-License-Identifier: Apache-2.0
"""Random brightness and texture of every tissue."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor
from torch.nn.functional import interpolate

from sfg_med.data.simulation.tissues import TISSUE_NAMES
from sfg_med.transforms.normalize import bright_end

# Without mobile protons there is no signal, whatever the sequence.
SIGNALLESS = ("air", "gas", "cortical_bone", "metal", "calcification", "perfluorocarbon")


class RandTissueContrastd(RandomizableTransform, MapTransform):
    """Paint every tissue in a brightness drawn at random, and blend that with the image there is.

    After the generative model of SynthSeg (Billot et al., 2023): the brightness of each tissue is uniform between dark
    and bright, with a texture of random strength and grain. What has no signal in any MR sequence stays dark: air, gas,
    cortical bone, metal and the like. Now and then tissues share a brightness, so that boundaries vanish. What the
    image there is shows within tissues (its texture, partial volume) is kept in part.

    Args:
        keys: images to change, ``(1, X, Y, Z)``, magnitude.
        tissue_key: map of tissues, numbers as in :data:`sfg_med.data.simulation.tissues.TISSUE_NAMES`; a case without
            it is passed on unchanged.
        prob: probability of a change.
        blend: lowest and highest share of the random image.
        flatten: probability that a tissue takes the brightness of another one.
        texture: highest deviation of the texture, in units of the brightest tissue.
    """

    def __init__(
        self,
        keys: KeysCollection,
        tissue_key: str = "tissue",
        prob: float = 0.5,
        blend: tuple[float, float] = (0.2, 1.0),
        flatten: float = 0.2,
        texture: float = 0.12,
    ) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.tissue_key, self.blend, self.flatten, self.texture = tissue_key, blend, flatten, texture

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the images, or pass them on."""
        result = dict(data)
        self.randomize(None)
        if not self._do_transform or self.tissue_key not in result:
            return result
        tissue = torch.as_tensor(result[self.tissue_key])[0].long()
        levels, deviations = self.draw_tissues()
        grain = self.draw_texture(tissue.shape)
        blend, keep = self.R.uniform(*self.blend), self.R.uniform(0.0, 1.0)
        for key in self.key_iterator(result):
            image = result[key]
            scaled = image[0] / bright_end(image).clamp_min(1e-6)
            residual = scaled - tissue_means(scaled, tissue)[tissue]
            painted = levels[tissue] + deviations[tissue] * grain + keep * levels[tissue] * residual
            result[key] = ((1 - blend) * scaled + blend * painted.clamp_min(0))[None]
        return result

    def draw_tissues(self) -> tuple[Tensor, Tensor]:
        """Brightness and deviation of the texture of every tissue, ``(tissues,)`` each."""
        count = len(TISSUE_NAMES)
        dark = np.isin(TISSUE_NAMES, SIGNALLESS)
        levels = self.R.uniform(0.08, 1.0, count)
        others = np.flatnonzero(~dark)
        for tissue in others[self.R.uniform(size=len(others)) < self.flatten]:
            levels[tissue] = levels[self.R.choice(others)]
        levels[dark] = self.R.uniform(0.0, 0.06, dark.sum())
        deviations = self.R.uniform(0.0, self.texture, count) * np.where(dark, 0.1, 1.0)
        return torch.as_tensor(levels, dtype=torch.float32), torch.as_tensor(deviations, dtype=torch.float32)

    def draw_texture(self, shape: torch.Size) -> Tensor:
        """Noise of about unit variance whose grain is one voxel to a few."""
        grain = self.R.uniform(1.0, 4.0)
        coarse = [max(2, round(n / grain)) for n in shape]
        generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
        noise = torch.randn((1, 1, *coarse), generator=generator)
        fine = interpolate(noise, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
        return fine / fine.std().clamp_min(1e-3)


def tissue_means(image: Tensor, tissue: Tensor) -> Tensor:
    """Mean of the image in every tissue, ``(tissues,)``; 0 for those that are absent.

    Args:
        image: ``(X, Y, Z)``.
        tissue: the same shape, int64.
    """
    flat = tissue.flatten()
    sums = torch.bincount(flat, weights=image.flatten(), minlength=len(TISSUE_NAMES))
    counts = torch.bincount(flat, minlength=len(TISSUE_NAMES))
    return (sums / counts.clamp_min(1)).to(torch.float32)
