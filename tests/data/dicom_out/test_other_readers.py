# SPDX-License-Identifier: Apache-2.0
"""Organs read back by other programs than wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from sfg_med.spec import PELVIS_LABELS
from tests.data.dicom_out.other_readers import segmentation_masks, structure_set_masks

NAMES = {value: name.replace("_", " ") for name, value in PELVIS_LABELS.items()}


def grid(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_plastimatch_finds_the_organs_of_the_structure_set(written, tmp_path) -> None:
    masks = structure_set_masks(written.folder / "seg_rtstruct.dcm", grid(written.folder / "ct"), tmp_path)
    assert set(masks) == {NAMES[value] for value in range(1, 5)}  # the fifth has no contours
    for value in range(1, 5):
        np.testing.assert_array_equal(masks[NAMES[value]], written.labels == value)


def test_dcmqi_finds_the_organs_of_the_segmentation(written, tmp_path) -> None:
    masks = segmentation_masks(written.folder / "seg.dcm", tmp_path / "masks")
    assert set(masks) >= {NAMES[value] for value in range(1, 5)}
    like = grid(written.folder / "ct")
    for value in range(1, 5):
        image, about = masks[NAMES[value]]
        # dcmqi's grid has the slices that hold anything
        mask = sitk.Resample(image, like, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(mask).T > 0, written.labels == value)
        assert about["SegmentAlgorithmType"] == "AUTOMATIC"
    assert masks["prostate"][1]["recommendedDisplayRGBValue"] == [255, 176, 0]
    side = masks["femoral head left"][1]["SegmentedPropertyTypeModifierCodeSequence"]
    assert (side["CodeValue"], side["CodeMeaning"]) == ("7771000", "Left")
