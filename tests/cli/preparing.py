# SPDX-License-Identifier: Apache-2.0
"""A call of ``sfg-med prepare``, men to prepare, and what it said of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.data.simulation.case import SimulatedCase

Prepare = Callable[..., int]
QUICK = ("--registration", "none", "--engine", "simpleitk", "--no-n4")


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """NIfTI by nibabel, anything else by SimpleITK."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nii.gz"):
        nib.save(nib.Nifti1Image(array, affine), path)
        return
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    flip = np.diag([-1.0, -1.0, 1.0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((flip @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((flip @ affine[:3, 3]).tolist())
    sitk.WriteImage(image, str(path))


def save_man(
    folder: Path, man: SimulatedCase, suffix: str = ".nii.gz", roles: tuple[str, ...] = ("mr", "ct", "seg")
) -> None:
    for role in roles:
        save(folder / f"{role}{suffix}", getattr(man, role), man.affine)


def dropped(output: Path) -> dict[str, str]:
    with (output / "dropped.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row["reason"] for row in csv.DictReader(file)}


def record(output: Path) -> dict[str, dict]:
    return {r["case"]: r for r in json.loads((output / "prepare.json").read_text())["cases"]}
