# SPDX-License-Identifier: Apache-2.0
"""Structures, rasterised again by matplotlib's even-odd rule in the planes of the MR."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from pydicom import Dataset, dcmread
from skimage.draw import polygon2mask
from skimage.measure import euler_number

from sfg_med.data.dicom_out.contours import closed_outlines

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
VALUES = {"prostate": 1, "bladder": 2, "rectum": 3, "femoral head left": 4, "femoral head right": 5}


def rasterised(contours: list[Dataset], affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(X, Y, Z) mask of the voxels whose centre is in a contour."""
    mask = np.zeros(shape, bool)
    centres = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), -1).reshape(-1, 2)
    for contour in contours:
        points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        assert contour.NumberOfContourPoints == len(points)
        index = np.linalg.solve(LPS @ affine, np.column_stack([points, np.ones(len(points))]).T)[:3].T
        height = round(float(index[0, 2]))
        np.testing.assert_allclose(index[:, 2], height, atol=1e-3)
        mask[:, :, height] ^= Outline(index[:, :2]).contains_points(centres).reshape(shape[:2])
    return mask


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def test_rasterised_again_they_are_the_organs(written) -> None:
    ds = dcmread(written.folder / "seg_rtstruct.dcm")
    names = {roi.ROINumber: roi.ROIName for roi in ds.StructureSetROISequence}
    assert list(names.values()) == list(VALUES)
    for item in ds.ROIContourSequence:
        mask = written.labels == VALUES[names[item.ReferencedROINumber]]
        if not mask.any():
            assert "ContourSequence" not in item  # an empty organ is listed
            continue
        assert dice(rasterised(item.ContourSequence, written.affine, mask.shape), mask) >= 0.999


def test_contours_refer_to_the_synthetic_ct(written) -> None:
    ds = dcmread(written.folder / "seg_rtstruct.dcm")
    slices = {ct.SOPInstanceUID: ct for ct in map(dcmread, (written.folder / "ct").iterdir())}
    study = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    listed = [item.ReferencedSOPInstanceUID for item in study.RTReferencedSeriesSequence[0].ContourImageSequence]
    assert set(listed) == set(slices)
    for item in ds.ROIContourSequence[0].ContourSequence:
        ct = slices[item.ContourImageSequence[0].ReferencedSOPInstanceUID]
        normal = np.cross(ct.ImageOrientationPatient[:3], ct.ImageOrientationPatient[3:])
        points = np.reshape(np.array(item.ContourData, float), (-1, 3))
        np.testing.assert_allclose((points - ct.ImagePositionPatient) @ normal, 0, atol=1e-3)
    assert ds.ApprovalStatus == "UNAPPROVED"
    assert {roi.ROIGenerationAlgorithm for roi in ds.StructureSetROISequence} == {"AUTOMATIC"}
    assert ds.ROIContourSequence[0].ROIDisplayColor == [255, 176, 0]


def test_left_and_right_are_modifiers_of_the_code(written) -> None:
    ds = dcmread(written.folder / "seg_rtstruct.dcm")
    codes = [item.RTROIIdentificationCodeSequence[0] for item in ds.RTROIObservationsSequence]
    assert codes[3].CodeValue == codes[4].CodeValue
    sides = [code.get("SegmentedPropertyTypeModifierCodeSequence") for code in codes]
    assert sides[:3] == [None] * 3
    assert [(side[0].CodeValue, side[0].CodeMeaning) for side in sides[3:]] == [
        ("7771000", "Left"),
        ("24028007", "Right"),
    ]


@pytest.mark.parametrize("seed", range(40))
def test_keyholes_of_any_mask(seed) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((17, 19)) < random.uniform(0.2, 0.95)
    outlines = closed_outlines(mask)
    parts = euler_number(mask, 1) if mask.any() else 0  # parts minus holes, sides touching
    even_odd, filled = np.zeros((2, *mask.shape), bool)
    rows, columns = np.indices(mask.shape)
    centres = np.column_stack([rows.ravel(), columns.ravel()])
    for points in outlines:
        inside = Outline(points).contains_points(centres).reshape(mask.shape)
        assert not (filled & inside).any()  # each part by itself
        filled |= inside
        even_odd ^= polygon2mask(mask.shape, points)
    np.testing.assert_array_equal(filled, mask)
    np.testing.assert_array_equal(even_odd, mask)
    assert len(outlines) >= parts


def test_winding_says_the_same_as_even_odd() -> None:
    mask = np.ones((9, 9), bool)
    mask[2:4, 2:4] = mask[5:7, 2:7] = False
    (points,) = closed_outlines(mask)
    following = np.roll(points, -1, axis=0)
    for centre in np.argwhere(np.ones_like(mask)):
        a, b = points - centre, following - centre
        turns = np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(1)).sum() / (2 * np.pi)
        assert round(abs(float(turns))) == int(mask[tuple(centre)])
