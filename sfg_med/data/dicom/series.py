# SPDX-License-Identifier: Apache-2.0
"""A DICOM series: what it is, and why it cannot be read as a volume if it cannot."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from sfg_med.data.dicom.slices import Slice

# Manufacturer of what sfg_med writes.
MAKER = "sfg_med"


@dataclass(frozen=True)
class Series:
    """The files of one folder that belong to one series.

    Args:
        path: what ``read_volume`` takes for it: its folder, or its first file where the folder has several series.
        folder: the folder.
        files: its files; in the order of the slices if it can be read.
        uid: Series Instance UID; ``""`` where the file has none.
        study_uid: Study Instance UID, or ``""``.
        frame_uid: Frame of Reference UID, or ``""``.
        modality: ``MR``, ``CT``, ...; ``""`` of files that cannot be read at all.
        description: of the series, else the name of its protocol.
        number: of the series.
        manufacturer: of what made it.
        is_image: whether it holds images at all (of whatever kind), and no structures, plans or reports.
        reason: why it cannot be read as one volume, in one phrase; ``""`` if it can.
        slices: the slices in order along their normal; empty if it cannot be read.
    """

    path: Path
    folder: Path
    files: tuple[Path, ...] = field(repr=False)
    uid: str
    study_uid: str
    frame_uid: str
    modality: str
    description: str
    number: int
    manufacturer: str
    is_image: bool
    reason: str
    slices: tuple[Slice, ...] = field(repr=False)

    @property
    def is_ours(self) -> bool:
        """Whether sfg_med made it: a prediction is no input."""
        return self.manufacturer == MAKER

    @property
    def name(self) -> str:
        """Number and description, as part of a file's name: ``003_t2_tse_tra``."""
        words = re.sub(r"[^A-Za-z0-9+-]+", "_", self.description).strip("_")[:60]
        return f"{self.number:03d}{'_' if words else ''}{words}"
