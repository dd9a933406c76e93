# SPDX-License-Identifier: Apache-2.0
"""Attributes that every written file has, and writing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from sfg_med import __version__
from sfg_med.data.dicom import MAKER
from sfg_med.data.dicom_out.source import Source

WARNING = "research only, not for clinical use"


@dataclass(frozen=True)
class Kind:
    """What is written.

    Args:
        sop_class: SOP Class UID.
        modality: Modality.
        description: Series Description, without the warning.
    """

    sop_class: str
    modality: str
    description: str

    @property
    def title(self) -> str:
        """Series Description, at most 64 characters."""
        return f"{self.description}, {WARNING}"


@dataclass(frozen=True)
class Mark:
    """What a result is of.

    Args:
        number: Series Number.
        content: hash of all that decides it; its UIDs are made of that.
        model: SHA-256 of the model.
    """

    number: int
    content: str
    model: str


def new_file(source: Source, kind: Kind, number: int, series_uid: str, image_uid: str) -> Dataset:
    """A dataset with patient, study, series, frame of reference, equipment and its UIDs."""
    dataset = Dataset()
    dataset.update(source.common)
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind.sop_class, image_uid
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesInstanceUID = kind.modality, number, series_uid
    dataset.SeriesDescription = kind.title
    dataset.Manufacturer = dataset.ManufacturerModelName = MAKER
    dataset.SoftwareVersions = __version__
    return dataset


def save(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    """Write a file of DICOM part 10."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)
