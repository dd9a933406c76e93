# SPDX-License-Identifier: Apache-2.0
"""Ghosts of periodic motion, and a patient who moved once."""

from __future__ import annotations

from typing import Any

import torch
from monai.config import KeysCollection
from torch import Tensor

from sfg_med.transforms.randomise.base import RandImaged


class RandGhostingd(RandImaged):
    """Ghosts along the phase-encoding axis, as breathing and pulsation leave them.

    A modulation of every n-th line of k-space adds copies of the image, shifted by multiples of its length / n.

    Args:
        keys: images to change.
        prob: probability of a change.
        strength: highest brightness of the first ghost, relative to the image.
        ghosts: lowest and highest number n.
    """

    def __init__(
        self, keys: KeysCollection, prob: float = 0.1, strength: float = 0.15, ghosts: tuple[int, int] = (2, 6)
    ) -> None:
        super().__init__(keys, prob)
        self.strength, self.ghosts = strength, ghosts

    def draw(self) -> dict[str, Any]:
        """Phase axis (in-plane of an axial image), number of ghosts and their strength."""
        return {
            "axis": int(self.R.randint(2)),
            "count": int(self.R.randint(self.ghosts[0], self.ghosts[1] + 1)),
            "strength": float(self.R.uniform(0.02, self.strength)),
        }

    def change(self, image: Tensor, **drawn: Any) -> Tensor:
        """Add the shifted copies on both sides; what leaves the image on one side returns on the other."""
        axis = drawn["axis"] + 1
        shift = max(1, image.shape[axis] // drawn["count"])
        copies = torch.roll(image, shift, axis) + torch.roll(image, -shift, axis)
        return image + drawn["strength"] * copies


class RandMotiond(RandImaged):
    """The patient moved once during the scan: part of the lines of k-space are those of a shifted image.

    Args:
        keys: images to change.
        prob: probability of a change.
        shift: largest displacement in voxels.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.1, shift: float = 2.0) -> None:
        super().__init__(keys, prob)
        self.shift = shift

    def draw(self) -> dict[str, Any]:
        """Phase axis, displacement in voxels, and from which part of the positive frequencies on."""
        return {
            "axis": int(self.R.randint(2)),
            "shift": float(self.R.uniform(-self.shift, self.shift)),
            "start": float(self.R.uniform(0.05, 0.5)),
        }

    def change(self, image: Tensor, **drawn: Any) -> Tensor:
        """Shift the lines beyond ``start`` of the highest frequency on one side of k-space, and take the magnitude."""
        axis = drawn["axis"] + 1
        n = image.shape[axis]
        frequency = torch.fft.fftfreq(n)
        phase = torch.exp(-2j * torch.pi * frequency * drawn["shift"])
        moved = torch.where(frequency > 0.5 * drawn["start"], phase, torch.ones_like(phase))
        shape = [-1 if a == axis else 1 for a in range(4)]
        lines = torch.fft.fft(image.to(torch.float32), dim=axis) * moved.reshape(shape)
        return torch.fft.ifft(lines, dim=axis).abs()
