# SPDX-License-Identifier: Apache-2.0
"""The synthetic CT, read back by ITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

from sfg_med.data.dicom import find_series, read_series

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def test_itk_reads_the_same_hu_in_the_same_place(written) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(written.folder / "ct")))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, written.hu)
    for index in [(0, 0, 0), (59, 0, 11), (7, 51, 3)]:
        place = LPS @ written.affine @ [*index, 1]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), place[:3], atol=1e-4)


def test_it_can_be_read_as_an_input(written) -> None:
    (series,) = find_series(written.folder / "ct")
    assert series.reason == ""
    np.testing.assert_array_equal(read_series(series, role="CT").array, written.hu)


def test_it_belongs_to_the_mr_and_says_what_it_is(written) -> None:
    uids = set()
    for index, file in enumerate(sorted((written.folder / "ct").iterdir())):
        ct, mr = dcmread(file), dcmread(written.series.slices[index].file)
        assert ct.StudyInstanceUID == mr.StudyInstanceUID
        assert ct.FrameOfReferenceUID == mr.FrameOfReferenceUID
        assert ct.SeriesInstanceUID != mr.SeriesInstanceUID
        assert ct.SourceImageSequence[0].ReferencedSOPInstanceUID == mr.SOPInstanceUID
        assert ct.ImagePositionPatient == mr.ImagePositionPatient
        assert ct.PatientName == mr.PatientName
        assert ct.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert ct.BurnedInAnnotation == "NO"
        assert "InstitutionName" not in ct  # nothing that the standard does not require
        for text in (ct.SeriesDescription, ct.DerivationDescription):
            assert "synthetic CT, research only, not for clinical use" in text
        uids.add(ct.SOPInstanceUID)
    assert len(uids) == 12
