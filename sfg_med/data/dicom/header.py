# SPDX-License-Identifier: Apache-2.0
"""What a DICOM file says before its pixels, as far as finding and reading series needs it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage

from sfg_med.data.dicom.slices import SIEMENS_B_VALUE, Slice, slices_of
from sfg_med.data.stored_bytes import check_regular, open_regular
from sfg_med.errors import SfgMedError

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "SeriesDescription", "ProtocolName", "EchoTime"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber", "FrameOfReferenceUID"),
    *("SequenceName", "DiffusionBValue", "TemporalPositionIdentifier", "NumberOfFrames", "Rows", "Columns"),
    *("SamplesPerPixel", "Manufacturer", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


@dataclass(frozen=True)
class Header:
    """Attributes of one file.

    Args:
        file: the file.
        image_uid: SOP Instance UID.
        series_uid: Series Instance UID; ``""`` where a de-identification has emptied it.
        study_uid: Study Instance UID, or ``""``.
        frame_uid: Frame of Reference UID, or ``""``.
        sop_class: SOP Class UID.
        modality: ``MR``, ``CT``, ...
        description: of the series, else the name of its protocol.
        number: of the series.
        syntax: Transfer Syntax UID.
        samples: values a pixel.
        manufacturer: of what made the image.
        image_type: as stored.
        slices: its planes; none if it holds no image.
    """

    file: Path
    image_uid: str
    series_uid: str
    study_uid: str
    frame_uid: str
    sop_class: str
    modality: str
    description: str
    number: int
    syntax: str
    samples: int
    manufacturer: str
    image_type: tuple[str, ...]
    slices: tuple[Slice, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content or its name."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with open_regular(path, "DICOM") as file:
            return file.read(132)[128:] == b"DICM"
    except SfgMedError:
        return False


def read_header(path: Path) -> Header | None:
    """Read a file's attributes, without the pixels.

    Args:
        path: a file for which :func:`is_dicom` is true.

    Returns:
        The attributes; None for the directory of a medium (DICOMDIR).

    Raises:
        SfgMedError: if it cannot be read.
    """
    check_regular(path, "DICOM")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that are not quite as the standard wants them are common
            tags = [*map(Tag, _TAGS), SIEMENS_B_VALUE]
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
            return _header(path, dataset)
    except Exception as error:  # pydicom raises whatever a value of a damaged file leads to
        found = f"a damaged one ({' '.join(str(error).split())[:100] or type(error).__name__})"
        raise SfgMedError(path, "a DICOM file", found, "copy or export it again") from error


def _header(path: Path, dataset: Dataset) -> Header | None:
    meta = dataset.file_meta
    sop_class = _text(dataset, "SOPClassUID") or _text(meta, "MediaStorageSOPClassUID")
    if sop_class == MediaStorageDirectoryStorage:
        return None
    if not sop_class and "Modality" not in dataset:
        raise ValueError("no DICOM attributes")
    image_uid = _text(dataset, "SOPInstanceUID") or _text(meta, "MediaStorageSOPInstanceUID")
    return Header(
        path,
        image_uid,
        _text(dataset, "SeriesInstanceUID"),
        _text(dataset, "StudyInstanceUID"),
        _text(dataset, "FrameOfReferenceUID"),
        sop_class,
        _text(dataset, "Modality"),
        _text(dataset, "SeriesDescription") or _text(dataset, "ProtocolName"),
        int(_text(dataset, "SeriesNumber") or 0),
        _text(meta, "TransferSyntaxUID") or "1.2.840.10008.1.2",
        int(dataset.get("SamplesPerPixel") or 1),
        _text(dataset, "Manufacturer"),
        tuple(map(str, dataset.get("ImageType") or ())),
        slices_of(path, dataset, image_uid, sop_class),
    )


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip(" \0")
