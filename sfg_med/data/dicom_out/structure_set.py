# SPDX-License-Identifier: Apache-2.0
"""Organs as an RT Structure Set.

Written by hand with pydicom: the step from a mask to polygons is what decides about holes and half voxels, and that
step is our own (contours.py).
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from sfg_med.data.dicom_out.contours import closed_outlines
from sfg_med.data.dicom_out.files import WARNING, Kind, Mark, new_file, save
from sfg_med.data.dicom_out.identity import make_uid
from sfg_med.data.dicom_out.source import Source, code_item, references
from sfg_med.data.dicom_out.structures import Structure

_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management: retired, and still what the standard asks for


def write_structure_set(
    path: Path,
    labels: NDArray[Any],
    structures: Many[Structure],
    source: Source,
    images: Many[Dataset],
    mark: Mark,
) -> None:
    """Write the structures; an empty organ is listed without contours.

    Args:
        path: the file.
        labels: (X, Y, Z) label values in the grid of the source.
        structures: the labels.
        source: the series they were made of.
        images: the slices that contours refer to: of the synthetic CT, or of the source.
        mark: series number, hash of the content and model.
    """
    kind = Kind(str(RTStructureSetStorage), "RTSTRUCT", "organs")
    uid = make_uid(mark.content, "structure set")
    dataset = new_file(source, kind, mark.number, make_uid(uid, "series"), uid)
    dataset.OperatorsName = ""
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = "sfg_med organs"
    dataset.StructureSetDescription = f"{WARNING}; predicted by sfg_med, model {mark.model[:16]}"
    dataset.StructureSetDate = dataset.StructureSetTime = ""
    dataset.ReferencedFrameOfReferenceSequence = Sequence([_frame_of_reference(images)])
    dataset.StructureSetROISequence = Sequence([_roi(s, source) for s in structures])
    dataset.ROIContourSequence = Sequence([_contours(s, labels, source, images) for s in structures])
    dataset.RTROIObservationsSequence = Sequence([_observation(s) for s in structures])
    dataset.ApprovalStatus = "UNAPPROVED"
    # explicit VR has no room for a contour of more than 64 kB
    save(dataset, path, ImplicitVRLittleEndian)


def _frame_of_reference(images: Many[Dataset]) -> Dataset:
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ContourImageSequence = references(images)
    study.ReferencedSOPClassUID = _STUDY_CLASS
    study.ReferencedSOPInstanceUID = images[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = Sequence([series])
    frame.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = Sequence([study])
    return frame


def _roi(structure: Structure, source: Source) -> Dataset:
    item = Dataset()
    item.ROINumber, item.ROIName = structure.number, structure.name
    item.ReferencedFrameOfReferenceUID = source.common.FrameOfReferenceUID
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    return item


def _contours(structure: Structure, labels: NDArray[Any], source: Source, images: Many[Dataset]) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = structure.number
    item.ROIDisplayColor = list(structure.colour)
    mask = labels == structure.value
    found = []
    for index in np.flatnonzero(mask.any((0, 1))).tolist():
        for points in closed_outlines(mask[:, :, index].T):
            found.append(_contour(points, source.images[index], images[index]))
    if found:
        item.ContourSequence = Sequence(found)
    return item


def _contour(points: NDArray[np.float64], plane: Dataset, image: Dataset) -> Dataset:
    between_rows, between_columns = map(float, plane.PixelSpacing)
    cosines = np.array(plane.ImageOrientationPatient, np.float64)
    places = np.array(plane.ImagePositionPatient, np.float64) + (
        points[:, 1:] * between_columns * cosines[:3] + points[:, :1] * between_rows * cosines[3:]
    )
    item = Dataset()
    item.ContourImageSequence = references([image])
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(places)
    item.ContourData = [f"{value:.4f}" for value in places.ravel()]
    return item


def _observation(structure: Structure) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = structure.number
    item.RTROIInterpretedType, item.ROIInterpreter = structure.type, ""
    identification = code_item(structure.code)
    if structure.side:  # PS3.3, C.8.8.8: the same modifier as a segment has
        identification.SegmentedPropertyTypeModifierCodeSequence = Sequence([code_item(structure.side)])
    item.RTROIIdentificationCodeSequence = Sequence([identification])
    return item
