# SPDX-License-Identifier: Apache-2.0
"""Results of an Enhanced MR, whose slices are frames of one file, in an order of their own."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import EnhancedMRImageStorage

from sfg_med.data.dicom import find_series, read_series
from sfg_med.data.dicom_out.identity import Identity
from sfg_med.data.dicom_out.results import write_results
from sfg_med.errors import SfgMedError
from sfg_med.spec import LabelTask, ModelSpec
from tests.data.dicom_out.conftest import MODEL, write_case
from tests.data.dicom_out.test_results import FILES, _breaches, _strangers
from tests.data.dicom_out.test_structure_set import rasterised

ORDER = (3, 0, 5, 1, 4, 2, 11, 7, 6, 10, 9, 8)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Not to be changed."""
    return write_case(tmp_path_factory.mktemp("frames"), frames=ORDER)


def test_files_are_what_the_standard_asks_for(frames) -> None:
    for name in FILES:
        ds = dcmread(frames.folder / name)
        assert _breaches(ds) == []
        assert _strangers(ds) == []


def test_each_slice_of_the_ct_refers_to_its_frame(frames) -> None:
    source = dcmread(frames.series.files[0], stop_before_pixels=True)
    slices = [dcmread(file) for file in sorted((frames.folder / "ct").iterdir())]
    assert len(slices) == 12
    for index, ct in enumerate(slices):
        (item,) = ct.SourceImageSequence
        assert item.ReferencedSOPClassUID == EnhancedMRImageStorage
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert ORDER[item.ReferencedFrameNumber - 1] == index
        group = source.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1]
        assert ct.ImagePositionPatient == group.PlanePositionSequence[0].ImagePositionPatient
    (series,) = find_series(frames.folder / "ct")
    volume = read_series(series, role="CT")
    np.testing.assert_array_equal(volume.array, frames.hu)
    np.testing.assert_allclose(volume.affine, frames.affine, atol=1e-6)


def test_organs_refer_to_the_ct_and_are_the_same(frames) -> None:
    uids = [dcmread(file).SOPInstanceUID for file in sorted((frames.folder / "ct").iterdir())]
    seg = highdicom.seg.segread(frames.folder / "seg.dcm")
    pixels = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    structures = dcmread(frames.folder / "seg_rtstruct.dcm")
    for item in structures.ROIContourSequence[:4]:
        value = item.ReferencedROINumber
        np.testing.assert_array_equal(pixels[..., value - 1].T, frames.labels == value)
        mask = rasterised(item.ContourSequence, frames.affine, frames.labels.shape)
        np.testing.assert_array_equal(mask, frames.labels == value)
        assert {c.ContourImageSequence[0].ReferencedSOPInstanceUID for c in item.ContourSequence} <= set(uids)


def test_organs_alone_have_no_images_to_refer_to(frames, tmp_path) -> None:
    spec = ModelSpec(tasks=(LabelTask(),))
    with pytest.raises(SfgMedError, match="one of many frames"):
        write_results(tmp_path / "out", frames.series, spec, {"seg": frames.labels}, Identity(), MODEL)
    assert list(tmp_path.iterdir()) == []
