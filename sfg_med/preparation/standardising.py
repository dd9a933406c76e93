# SPDX-License-Identifier: Apache-2.0
"""Bring the MR of a whole dataset onto one intensity scale, fitted on its training cases only."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sfg_med.data.volumes import read_volume, write_volume
from sfg_med.errors import SfgMedError
from sfg_med.preparation.records import Records
from sfg_med.preparation.standardise import Standard, check_landmarks, fit_standard, read_standard, write_standard

FILE = "standardisation.json"
# Beside mr.nii.gz: the image before, from which another scale can be applied.
BEFORE = "mr_unstandardised.nii.gz"


def standardise_dataset(output: Path, records: Records, training: Sequence[str], landmarks: Path | None) -> None:
    """Write ``standardisation.json`` and every case's ``mr.nii.gz`` on the standard scale.

    Images that have the scale already are left alone; a new fit starts from ``mr_unstandardised.nii.gz``.

    Args:
        output: the dataset.
        records: its cases, with their landmarks.
        training: names of the training cases.
        landmarks: a scale to apply instead of a fit.

    Raises:
        SfgMedError: if ``landmarks`` cannot be used, or no training case has a scale.
    """
    usable = {r["case"]: r["landmarks"] for r in records.cases.values() if r["status"] == "done"}
    standard = read_standard(landmarks) if landmarks else _fit(output, {c: usable[c] for c in training if c in usable})
    fitted_on = str(landmarks) if landmarks else "training cases of splits.json"
    write_standard(output / FILE, standard, {"fitted_on": fitted_on, "applied_to": sorted(usable)})
    for case in sorted(usable):
        record = records.cases[case]
        if record["standardised"] != standard.sha256:
            _apply(output / case, standard, usable[case])
            record["standardised"] = standard.sha256
            record["files"] = sorted({*record["files"], BEFORE})
            records.save()


def drop_without_scale(output: Path, records: Records) -> None:
    """Take cases out whose MR has no scale: images on two scales do not belong in one dataset."""
    for record in [r for r in records.cases.values() if r["status"] == "done"]:
        try:
            check_landmarks(record["case"], record["landmarks"])
        except SfgMedError as error:
            record |= {"status": "failed", "error": str(error), "files": []}
            shutil.rmtree(output / record["case"], ignore_errors=True)


def _fit(output: Path, landmarks: dict[str, Sequence[float]]) -> Standard:
    if not landmarks:
        raise SfgMedError(output, "a training case to fit the standard scale on", "none", "prepare more cases")
    return fit_standard(landmarks)


def _apply(folder: Path, standard: Standard, own: Sequence[float]) -> None:
    before = folder / BEFORE
    if not before.is_file():
        volume = read_volume(folder / "mr.nii.gz")
        write_volume(before, volume.array, volume, "float32")
    volume = read_volume(before)
    write_volume(folder / "mr.nii.gz", standard.apply(volume.array.astype("float32"), own), volume, "float32")
