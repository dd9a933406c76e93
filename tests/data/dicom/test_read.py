# SPDX-License-Identifier: Apache-2.0
"""Reading a series: values and grid, against what was written and against ITK's reader."""

from __future__ import annotations

from pathlib import Path

import gdcm
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from sfg_med.data.dicom import find_series, read_series
from sfg_med.data.volumes import read_volume, write_volume
from sfg_med.errors import SfgMedError
from tests.data.dicom.series_files import oblique_affine, write_frames, write_series

ARRAY = np.random.default_rng(1).integers(0, 900, (9, 8, 6)).astype(np.uint16)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(X, Y, Z) values and RAS affine by SimpleITK."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, LPS @ affine


def _read(folder: Path):
    (series,) = find_series(folder)
    assert series.reason == ""
    return read_series(series)


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    tilt=st.floats(-1.5, 1.5),
    turn=st.floats(-3.0, 3.0),
    flip=st.booleans(),
)
def test_any_orientation_lies_where_it_was_written_and_where_itk_puts_it(tmp_path, spacing, tilt, turn, flip) -> None:
    folder = tmp_path / f"{abs(hash((spacing, tilt, turn, flip)))}"
    affine = oblique_affine(spacing, tilt, turn, flip)
    volume = _read(write_series(folder, ARRAY, affine))
    # written along the third axis, whose direction is the normal's here
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-8)
    array, itk_affine = _itk(folder)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, itk_affine, atol=1e-6)


def test_slices_written_against_their_normal_are_turned_round(tmp_path) -> None:
    affine = oblique_affine() @ np.diag([1.0, 1.0, -1.0, 1.0])
    volume = _read(write_series(tmp_path, ARRAY, affine))
    np.testing.assert_array_equal(volume.array, ARRAY[:, :, ::-1])
    index = np.array([3, 4, 5, 1])
    np.testing.assert_allclose(volume.affine @ index, affine @ [3, 4, 0, 1], atol=1e-8)


def test_a_tilted_gantry_is_a_shear(tmp_path) -> None:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array([[1, 0, 0, 0], [0, 1, 0.4, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
    volume = _read(write_series(tmp_path / "in", ARRAY, affine, modality="CT"))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-8)
    write_volume(tmp_path / "x.nii.gz", volume.array, volume, np.int16)
    np.testing.assert_allclose(read_volume(tmp_path / "x.nii.gz").affine, affine, atol=1e-5)


@pytest.mark.parametrize(
    ("rescale", "dtype"),
    [((1, 0), np.uint16), ((1, -1024), np.int16), ((0.5, 3.25), np.float32), ((2, 0), np.float32)],
)
def test_slope_and_intercept(tmp_path, rescale, dtype) -> None:
    folder = write_series(tmp_path, ARRAY, oblique_affine(), modality="CT", rescale=rescale)
    volume = _read(folder)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, (ARRAY * float(rescale[0]) + rescale[1]).astype(np.float32))
    np.testing.assert_array_equal(volume.array, _itk(folder)[0].astype(np.float32))


def test_a_slope_of_its_own_for_each_slice(tmp_path) -> None:
    def change(ds: Dataset, index: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = index + 1, -index

    volume = _read(write_series(tmp_path, ARRAY, oblique_affine(), change=change))
    np.testing.assert_array_equal(volume.array, ARRAY * np.arange(1.0, 7.0) - np.arange(6.0))


def test_negative_values(tmp_path) -> None:
    array = ARRAY.astype(np.int16) - 500
    np.testing.assert_array_equal(_read(write_series(tmp_path, array, oblique_affine())).array, array)


@pytest.mark.parametrize(
    "syntax", ["RLELossless", "JPEGLosslessProcess14_1", "JPEG2000Lossless", "JPEGLSLossless", "ExplicitVRBigEndian"]
)
def test_compressed_without_loss_reads_as_it_was(tmp_path, syntax) -> None:
    write_series(tmp_path / "in", ARRAY, oblique_affine())
    (tmp_path / "out").mkdir()
    for path in (tmp_path / "in").iterdir():
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(tmp_path / "out" / path.name))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    np.testing.assert_array_equal(_read(tmp_path / "out").array, ARRAY)


def test_pixels_that_are_cut_off_are_one_clear_line(tmp_path) -> None:
    write_series(tmp_path, ARRAY, oblique_affine())
    path = tmp_path / "002.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    (series,) = find_series(tmp_path)
    with pytest.raises(SfgMedError, match=r"002.dcm: expected readable pixels, found damaged ones") as caught:
        read_series(series)
    assert "\n" not in str(caught.value)


def test_frames_of_one_file_in_any_order(tmp_path) -> None:
    volume = _read(write_frames(tmp_path, ARRAY, oblique_affine(), [3, 0, 5, 1, 4, 2]))
    np.testing.assert_array_equal(volume.array, ARRAY + np.arange(6))
    np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-8)


def test_a_ct_in_place_of_an_mr_is_flagged(tmp_path) -> None:
    folder = write_series(tmp_path, ARRAY, oblique_affine(), modality="CT")
    assert read_volume(folder).notes == ("modality:CT",)
    assert read_volume(folder, role="CT").notes == ()


def test_real_series(shared_data) -> None:
    found = {s.folder.name: s for s in find_series(shared_data / "dicom_mr")}
    why = {name: series.reason for name, series in found.items() if series.reason}
    assert set(found) - set(why) == {
        "prostate3t_0001_t2_tra",
        "prostate3t_0002_t2_tra",
        "prostatex0000_adc",
        "prostatex0000_t2_tra",
    }
    assert why["prostatex0000_dwi_mixed_bvalues"].startswith("57 images at 19 positions: several volumes (b-values 50,")
    assert why["prostatex0000_hbv_missing_slice"].startswith("1 slice missing: 6 mm between 1-07.dcm and 1-05.dcm")
    for series in (s for s in found.values() if not s.reason):
        volume, (array, affine) = read_series(series), _itk(series.folder)
        np.testing.assert_array_equal(volume.array, array)
        np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    nifti = read_volume(shared_data / "dicom_mr" / "prostate3t_0001_t2.nii.gz")
    volume = read_volume(shared_data / "dicom_mr" / "prostate3t_0001_t2_tra")
    np.testing.assert_array_equal(volume.array, nifti.array)
    np.testing.assert_allclose(volume.affine, nifti.affine, atol=1e-5)


def test_real_compressed_ct_without_uids(shared_data) -> None:
    (series,) = find_series(shared_data / "pelvic_ct" / "dicom_abdomen")
    assert (series.reason, series.modality, series.uid, len(series.files)) == ("", "CT", "", 20)
    volume, few = read_series(series, role="CT"), series.files[:2]
    assert (volume.array.dtype, int(volume.array.min())) == (np.int16, -1024)
    for index, file in enumerate(few):
        np.testing.assert_array_equal(volume.array[:, :, index], sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0].T)
