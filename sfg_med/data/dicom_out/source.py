# SPDX-License-Identifier: Apache-2.0
"""What results take over from the series that they were made of: what the standard requires, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName

from sfg_med.data.dicom import Series
from sfg_med.data.dicom.geometry import heights
from sfg_med.data.dicom_out.identity import Identity
from sfg_med.errors import SfgMedError

UTF_8 = "ISO_IR 192"
# Type 2 of the modules Patient and General Study: present, perhaps empty.
PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")
_DATES = ("ContentDate", "AcquisitionDate", "SeriesDate", "StudyDate")
# A date that the standard requires where none is known or none may be told.
NO_DATE = "19000101"


@dataclass(frozen=True)
class Source:
    """The series as results refer to it; without identity if that is wanted.

    Args:
        common: patient, study and frame of reference, as every result has them.
        position: Patient Position (``HFS``, ...), or ``""``.
        date: of the images, ``YYYYMMDD``.
        series_uid: Series Instance UID.
        images: for each slice a dataset with its UIDs and its geometry, without pixels.
        multi_frame: whether slices are frames of one file.
        distance_mm: between slices.
    """

    common: Dataset
    position: str
    date: str
    series_uid: str
    images: tuple[Dataset, ...]
    multi_frame: bool
    distance_mm: float


def read_source(series: Series, identity: Identity) -> Source:
    """Read again what results need of a series.

    Args:
        series: one that can be read.
        identity: keep or replace patient, study and UIDs.

    Raises:
        SfgMedError: if its first file cannot be read any more.
    """
    tags = ["SpecificCharacterSet", "PositionReferenceIndicator", "PatientPosition", *PATIENT, *STUDY, *_DATES]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = dcmread(series.files[0], stop_before_pixels=True, specific_tags=tags)
            values = {name: _value(first, name) for name in tags}
    except (OSError, InvalidDicomError) as error:
        raise SfgMedError(series.files[0], "the series as it was", repr(error), "predict again") from error
    where = str(series.folder.name)
    date = next((values[name] for name in _DATES if values[name]), NO_DATE)
    if identity.remove:
        pseudonym = identity.patient(values["PatientID"], values["PatientName"], series.study_uid or where)
        position, reference = values["PatientPosition"], values["PositionReferenceIndicator"]
        values = dict.fromkeys(tags, "")
        values |= {"PatientName": pseudonym, "PatientID": pseudonym, "PatientPosition": position}
        values["PositionReferenceIndicator"], date = reference, NO_DATE
    common = Dataset()
    common.SpecificCharacterSet = UTF_8
    for name in (*PATIENT, *STUDY, "PositionReferenceIndicator"):
        setattr(common, name, values[name])
    common.StudyInstanceUID = identity.uid(series.study_uid, "study", where)
    common.FrameOfReferenceUID = identity.uid(series.frame_uid, "frame", series.study_uid, where)
    if identity.remove:
        common.PatientIdentityRemoved = "YES"
        common.DeidentificationMethod = "sfg_med: patient and UIDs replaced, dates and all else removed"
    series_uid = identity.uid(series.uid, "series", series.study_uid, where)
    multi_frame = len(series.files) < len(series.slices)
    distance = float(np.diff(heights(series.slices)).mean())
    return Source(
        common,
        values["PatientPosition"],
        date,
        series_uid,
        _images(series, common, series_uid, identity),
        multi_frame,
        distance,
    )


def references(images: Iterable[Dataset], purpose: tuple[str, str, str] | None = None) -> Sequence:
    """Items that refer to images, with the frame where a file has several.

    Args:
        images: of :class:`Source`, or written ones.
        purpose: code value, scheme and meaning of the purpose of the reference.
    """
    items = []
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID = image.SOPClassUID
        item.ReferencedSOPInstanceUID = image.SOPInstanceUID
        if "NumberOfFrames" in image:
            item.ReferencedFrameNumber = image.InstanceNumber
        if purpose:
            item.PurposeOfReferenceCodeSequence = Sequence([code_item(purpose)])
        items.append(item)
    return Sequence(items)


def code_item(code: tuple[str, str, str]) -> Dataset:
    """Item of a code sequence: value, scheme, meaning."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def _images(series: Series, common: Dataset, series_uid: str, identity: Identity) -> tuple[Dataset, ...]:
    images = []
    for number, plane in enumerate(series.slices, 1):
        image = Dataset()
        image.update(common)
        image.SOPClassUID = plane.sop_class
        image.SOPInstanceUID = identity.uid(plane.image_uid, "image", series_uid, str(number))
        image.SeriesInstanceUID = series_uid
        image.Modality = series.modality
        image.Rows, image.Columns = plane.shape
        image.ImagePositionPatient = [decimal(v) for v in plane.position or ()]
        image.ImageOrientationPatient = [decimal(v) for v in plane.orientation or ()]
        image.PixelSpacing = [decimal(v) for v in plane.spacing_mm or ()]
        image.InstanceNumber = number
        if len(series.files) < len(series.slices):
            image.InstanceNumber, image.NumberOfFrames = plane.frame + 1, 1
        images.append(image)
    return tuple(images)


def decimal(value: float) -> str:
    """A number in the at most 16 characters of a decimal string, as exact as they allow."""
    for digits in range(16, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.0e}"


def _value(dataset: Dataset, name: str) -> str:
    """Value as text; ``""`` where there is none or the standard forbids it."""
    value: Any = dataset.get(name)
    text = "" if value is None else str(value).strip(" \0")
    tag = tag_for_keyword(name)
    if not text or tag is None:
        return ""
    try:
        checked = PersonName(text) if dictionary_VR(tag) == "PN" else text
        DataElement(tag, dictionary_VR(tag), checked, validation_mode=config.RAISE)
    except ValueError:
        return ""
    return text
