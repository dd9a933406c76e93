# SPDX-License-Identifier: Apache-2.0
"""Simulated men on scanners drawn at random, for data sets that are written to disk."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sfg_med.data.simulation.case import SimulatedCase
from sfg_med.data.simulation.noise import Streams
from sfg_med.spec import PELVIS_LABELS, ModelSpec
from sfg_med.transforms.randomise.field_of_view import RandFieldOfViewd
from sfg_med.transforms.randomise.scan import RandScand

IMAGES = ("mr", "ct", "seg", "mask", "tissue")
# Scanner units of the bright end of a changed MR.
BRIGHT = 1000.0


@dataclass(frozen=True)
class Rescan:
    """Change a simulated case as :class:`RandScand` and :class:`RandFieldOfViewd` do while training.

    Args:
        spacing_mm: voxel size along x, y, z.
        artefacts: random contrast, resolution and artefacts.
        small_fields: a random field of view, from that of the case to a box around the prostate.
    """

    spacing_mm: Sequence[float]
    artefacts: bool = True
    small_fields: bool = True

    def __call__(self, case: SimulatedCase, seed: Sequence[int]) -> SimulatedCase:
        """The changed case; the same for the same seed."""
        state = int(Streams(seed)("rescan").integers(2**31))
        images: dict[Hashable, Any] = {name: torch.from_numpy(np.asarray(getattr(case, name)))[None] for name in IMAGES}
        affine = case.affine
        if self.small_fields:
            spec = ModelSpec(spacing_mm=tuple(self.spacing_mm))
            crop = RandFieldOfViewd(IMAGES, spec)
            crop.set_random_state(state)
            images, start = crop.crop(images)
            affine = affine.copy()
            affine[:3, 3] += affine[:3, :3] @ np.asarray(start, float)
        if self.artefacts:
            images["mr"] = images["mr"].float()
            scan = RandScand("mr", self.spacing_mm)
            scan.set_random_state(state)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(state)
                changed = scan(images)
            images["mr"] = (BRIGHT * torch.as_tensor(changed["mr"])).round().clamp(0, 32767).to(torch.int16)
        arrays = {name: np.ascontiguousarray(torch.as_tensor(images[name])[0].numpy()) for name in IMAGES}
        ml = float(np.prod(self.spacing_mm)) / 1000.0
        volumes = {name: round(float((arrays["seg"] == v).sum()) * ml, 2) for name, v in PELVIS_LABELS.items()}
        return replace(case, **arrays, affine=affine, parameters={**case.parameters, "volume_ml": volumes})

    def __str__(self) -> str:
        return ", ".join(n for n in ("artefacts", "small_fields") if getattr(self, n))
