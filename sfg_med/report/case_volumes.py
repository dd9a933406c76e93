# SPDX-License-Identifier: Apache-2.0
"""The volumes of one predicted case and of its reference, all in RAS on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
from numpy.typing import NDArray

from sfg_med.data.agreement import check_same_grid
from sfg_med.data.orientation import to_ras
from sfg_med.data.volumes import Volume, read_volume
from sfg_med.data.walk import exists
from sfg_med.report.case_files import Predictions
from sfg_med.report.references import Case, labels_of_model
from sfg_med.spec import LabelTask

Array = NDArray[Any]


@dataclass
class CaseVolumes:
    """Volumes of one case. Arrays are (R, A, S) and ``None`` where there is no file."""

    predictions: Predictions
    name: str
    reference: Case | None
    grid: Volume
    has_input: bool
    remarks: list[str]

    def predicted(self, key: str) -> Array | None:
        """What predict wrote: a task, or an uncertainty such as ``ct_std``."""
        path = self.predictions.file(self.name, key)
        return None if path is None else self._ras(read_volume(path, role=key, blank_ok=True))

    def referenced(self, role: str) -> Array | None:
        """The reference of a task, or the body mask.

        Raises:
            SfgMedError: if it lies on another grid.
        """
        path = self.reference.files.get(role) if self.reference else None
        if path is None:
            return None
        volume = read_volume(path, role=f"reference {role}", blank_ok=True)
        check_same_grid(volume, self.grid)
        return self._ras(volume)

    def referenced_labels(self, task: LabelTask) -> Array | None:
        """Reference label map with the model's values."""
        truth = self.referenced(task.name)
        return None if truth is None or not self.reference else labels_of_model(task, self.reference, truth)

    @property
    def voxels(self) -> Array:
        """The image that defines the grid: the input, where it still is."""
        return self._ras(self.grid)

    @property
    def affine(self) -> Array:
        """(4, 4) from (R, A, S) indices to RAS mm."""
        turn = nib.orientations.io_orientation(self.grid.affine)
        result: Array = self.grid.affine @ nib.orientations.inv_ornt_aff(turn, self.grid.array.shape)
        return result

    def _ras(self, volume: Volume) -> Array:
        return to_ras(volume.array, self.grid.affine)[0]


def open_volumes(predictions: Predictions, case: str, reference: Case | None) -> CaseVolumes:
    """Open a case; the input defines the grid where it still is, else a prediction does."""
    source = predictions.records.get(case, {}).get("input")
    path = Path(source) if source and exists(Path(source)) else None
    if path is None and reference is not None:
        path = reference.files.get(predictions.spec.input_name)
    if path is not None:
        return CaseVolumes(predictions, case, reference, read_volume(path), True, [])
    first = next((f for t in predictions.spec.tasks if (f := predictions.file(case, t.name))), None)
    remark = f"The input is not at {source} any more: it is not shown."
    grid = read_volume(first or Path(case), role="prediction", blank_ok=True)
    return CaseVolumes(predictions, case, reference, grid, False, [remark])
