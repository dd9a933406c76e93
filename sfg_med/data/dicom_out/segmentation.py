# SPDX-License-Identifier: Apache-2.0
"""Organs as a DICOM Segmentation: one bit a voxel, with codes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from sfg_med import __version__
from sfg_med.data.dicom import MAKER
from sfg_med.data.dicom_out.files import WARNING, Mark, save
from sfg_med.data.dicom_out.identity import make_uid
from sfg_med.data.dicom_out.source import Source
from sfg_med.data.dicom_out.structures import Structure


def write_segmentation(
    path: Path,
    labels: NDArray[Any],
    structures: Sequence[Structure],
    source: Source,
    images: Sequence[Dataset],
    mark: Mark,
) -> None:
    """Write the segments; frames without a voxel of an organ are left out.

    Args:
        path: the file.
        labels: (X, Y, Z) label values in the grid of the source.
        structures: the labels.
        source: the series they were made of.
        images: the slices that segments refer to; single frames.
        mark: series number, hash of the content and model.
    """
    numbers = np.zeros(int(max(labels.max(), *(s.value for s in structures))) + 1, np.uint8)
    for structure in structures:
        numbers[structure.value] = structure.number
    uid = make_uid(mark.content, "segmentation")
    with _quiet():
        dataset = Segmentation(
            list(images),
            np.ascontiguousarray(numbers[labels].T),
            "BINARY",
            [_segment(structure) for structure in structures],
            series_instance_uid=make_uid(uid, "series"),
            series_number=mark.number,
            sop_instance_uid=uid,
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=__version__,
            device_serial_number=mark.model[:16],
            content_label="ORGANS",
            content_description=WARNING,
            series_description=f"organs, {WARNING}",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    for name in ("PatientIdentityRemoved", "DeidentificationMethod"):
        if name in source.common:
            setattr(dataset, name, source.common[name].value)
    # what highdicom takes from the clock and from random numbers: the same input gives the same bytes
    dataset["ContentDate"].value, dataset["ContentTime"].value = source.date, "000000"
    dimensions = make_uid(uid, "dimensions")
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    # the last is highdicom; before it, of a synthetic CT, what is no acquisition equipment
    dataset.ContributingEquipmentSequence = dataset.ContributingEquipmentSequence[-1:]
    del dataset.ContributingEquipmentSequence[0].ContributionDateTime
    for name in ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime"):
        if name in dataset:
            delattr(dataset, name)
    save(dataset, path)


def _segment(structure: Structure) -> SegmentDescription:
    segment = SegmentDescription(
        structure.number,
        structure.name,
        codes.SCT.AnatomicalStructure,
        CodedConcept(*structure.code),
        "AUTOMATIC",
        AlgorithmIdentificationSequence(MAKER, codes.DCM.ArtificialIntelligence, __version__),
        display_color=CIELabColor.from_rgb(*structure.colour),
    )
    if structure.side:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept(*structure.side)]
    return segment


@contextmanager
def _quiet() -> Any:
    """highdicom logs each frame, and warns of segmentations without a voxel: the flags tell that already."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
