# SPDX-License-Identifier: Apache-2.0
"""Read the images of a case, and refuse one that is plainly of another kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfg_med.data.volumes import Volume, read_volume
from sfg_med.errors import SfgMedError

# Fat is about -100 HU, air -1000; an MR's signal is a magnitude.
_CT_LOW, _MR_LOW = -50.0, -400.0


def read_image(path: Path, role: str) -> Volume:
    """Read a volume or DICOM series as ``mr``, ``ct``, ``seg`` or ``mask``.

    Raises:
        SfgMedError: if it cannot be read, or is of another kind by its DICOM header or its values.
    """
    name = role.upper() if role in ("mr", "ct") else role
    volume = read_volume(path, role=name, blank_ok=role == "seg")
    modality = next((note.split(":")[1] for note in volume.notes if note.startswith("modality:")), "")
    if modality:
        raise SfgMedError(path, f"modality {role.upper()}", f"modality {modality}", "correct which file is which")
    if role in ("mr", "ct"):
        _check_values(path, volume, role)
    elif np.any(volume.array != np.rint(volume.array)) or volume.array.min() < 0:
        low, high = volume.array.min(), volume.array.max()
        raise SfgMedError(path, "whole numbers from 0 as labels", f"values {low:g} to {high:g}", "correct the file")
    return volume


def _check_values(path: Path, volume: Volume, role: str) -> None:
    low = float(np.percentile(volume.array[::2, ::2, ::2].astype(np.float64), 1))
    high = float(volume.array.max())
    if role == "ct" and (low > _CT_LOW or high < 100):
        found = f"values from {low:g} (1st percentile) to {high:g}"
        remedy = "check that it is a CT and that slope and intercept were applied"
        raise SfgMedError(path, "a CT in HU, where fat is -100 and air -1000", found, remedy)
    if role == "mr" and low < _MR_LOW:
        found = f"a 1st percentile of {low:g}, as a CT has"
        raise SfgMedError(path, "an MR, whose signal is not negative", found, "check that it is an MR")
