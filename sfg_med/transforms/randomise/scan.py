# SPDX-License-Identifier: Apache-2.0
"""The same man on any scanner: all that changes an MR but not what it shows, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandBiasFieldd,
    RandGaussianSharpend,
    RandGaussianSmoothd,
    RandGibbsNoised,
    RandHistogramShiftd,
    RandRicianNoised,
)

from sfg_med.transforms.randomise.contrast import RandTissueContrastd
from sfg_med.transforms.randomise.magnitude import ToMagnituded
from sfg_med.transforms.randomise.motion import RandGhostingd, RandMotiond
from sfg_med.transforms.randomise.resolution import RandResolutiond
from sfg_med.transforms.randomise.shading import RandCoilShadingd


class RandScand(Compose):
    """Random contrast, resolution and artefacts of one MR, ``(1, X, Y, Z)``, which becomes a magnitude image.

    Normalise afterwards. Ranges are choices, wider than what scanners do.

    Args:
        key: the MR.
        spacing_mm: voxel size along x, y, z.
        contrast: probability that tissues get a random brightness; needs a map of tissues beside the image.
        resolution: probability of thick slices or coarse voxels; blur and sharpening are rarer.
        artefacts: factor of the probabilities of all else: gamma, shifts of the histogram, coil shading, bias field,
            ghosts, motion, ringing and noise.
    """

    def __init__(
        self,
        key: str,
        spacing_mm: Sequence[float],
        contrast: float = 0.6,
        resolution: float = 0.5,
        artefacts: float = 1.0,
    ) -> None:
        blur: dict[str, Any] = {f"sigma_{axis}": (0.2, 0.9) for axis in "xyz"}
        sharp: dict[str, Any] = {f"sigma{i}_{axis}": (0.5, 1.0) for axis in "xyz" for i in (1, 2)}
        super().__init__(
            [
                ToMagnituded(key),
                RandTissueContrastd(key, prob=contrast),
                RandAdjustContrastd(key, prob=0.4 * artefacts, gamma=(0.6, 1.7)),
                RandHistogramShiftd(key, prob=0.15 * artefacts, num_control_points=(4, 8)),
                RandResolutiond(key, spacing_mm, prob=resolution),
                RandGaussianSmoothd(key, prob=0.6 * resolution, **blur),
                RandGaussianSharpend(key, prob=0.3 * resolution, alpha=(1.0, 4.0), **sharp),
                RandCoilShadingd(key, spacing_mm, prob=0.25 * artefacts),
                RandBiasFieldd(key, prob=0.3 * artefacts, degree=3, coeff_range=(-0.3, 0.3)),
                RandGhostingd(key, prob=0.1 * artefacts),
                RandMotiond(key, prob=0.1 * artefacts),
                RandGibbsNoised(key, prob=0.08 * artefacts, alpha=(0.2, 0.6)),
                RandRicianNoised(
                    key, prob=0.5 * artefacts, std=0.07, sample_std=True, relative=False, channel_wise=False
                ),
            ]
        )
