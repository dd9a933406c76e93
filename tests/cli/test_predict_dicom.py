# SPDX-License-Identifier: Apache-2.0
"""``sfg-med predict`` of DICOM series, in and out."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

from sfg_med.data.dicom import find_series, read_series
from sfg_med.errors import SfgMedError
from sfg_med.model_path import demonstration_model
from sfg_med.spec import PELVIS_LABELS
from tests.cli.prediction import AFFINE, _leftovers, _manifest, _predict, _save, _volumes
from tests.data.dicom.series_files import oblique_affine, write_series
from tests.data.dicom_out.other_readers import segmentation_masks, structure_set_masks
from tests.data.dicom_out.test_structure_set import dice, rasterised


def _dicom(out) -> list[str]:
    return sorted({p.relative_to(out).as_posix() for p in out.rglob("*.dcm")})


def test_a_study_with_series_that_are_no_volumes(tmp_path, model, mr) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    array = mr.astype(np.uint16)
    write_series(source / "p1", array, oblique_affine((2.0, 2.0, 3.0)), name="IM{}")
    write_series(source / "p2", array, oblique_affine(), uid="a", description="t2 tra", name="a{}")
    write_series(source / "p2", array[:, :, :2], oblique_affine(), uid="b", description="localizer", name="b{}")
    _save(source / "p3.nii.gz", mr)
    code, _, error = _predict(source, out, model)
    assert code == 1
    records = {record["case"]: record for record in _manifest(out)["cases"]}
    assert {case for case, record in records.items() if record["status"] == "done"} == {"p1", "p2/004_t2_tra", "p3"}
    assert "only 2 slices" in records["p2/004_localizer"]["error"]
    assert "failed: p2/004_localizer" in error
    assert [v for v in _volumes(out) if v.startswith("p1")] == ["p1_ct.nii.gz", "p1_seg.nii.gz"]
    image = nib.load(out / "p1_ct.nii.gz")
    np.testing.assert_allclose(image.affine, oblique_affine((2.0, 2.0, 3.0)), atol=1e-4)
    assert image.shape == mr.shape
    assert _predict(source, tmp_path / "few", model, "--series", "T2*tra")[0] == 0
    assert _volumes(tmp_path / "few") == _volumes(out)
    with pytest.raises(SfgMedError, match=r"004_(t2_tra|localizer), 004_(t2_tra|localizer)"):
        _predict(source / "p2", tmp_path / "none", model, "--series", "flair")


def test_dicom_out_is_resumed_and_replaced(tmp_path, model, mr) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_series(source / "p1", mr.astype(np.uint16), AFFINE)
    _save(source / "p2.nii.gz", mr)
    code, _, error = _predict(source, out, model, "--dicom")
    assert code == 1
    assert "p2: " in error
    assert "a DICOM series for --dicom" in error
    record = _manifest(out)["cases"][0]
    assert record["files"]["ct_dicom"] == "p1_dicom/ct"
    assert all((out / file).exists() for file in record["files"].values())
    assert _dicom(out) == sorted(
        [*(f"p1_dicom/ct/{i:04d}.dcm" for i in range(1, 13)), "p1_dicom/seg.dcm", "p1_dicom/seg_rtstruct.dcm"]
    )
    (series,) = find_series(out / "p1_dicom" / "ct")
    nifti = nib.load(out / "p1_ct.nii.gz")
    volume = read_series(series, role="CT")
    np.testing.assert_array_equal(volume.array, np.asarray(nifti.dataobj))
    np.testing.assert_allclose(volume.affine, nifti.affine, atol=1e-4)
    before = (out / "p1_dicom" / "seg.dcm").stat().st_mtime_ns

    (source / "p2.nii.gz").unlink()
    assert _predict(source, out, model, "--dicom")[0] == 0
    assert _manifest(out)["cases"][0]["skipped"]
    shutil.rmtree(out / "p1_dicom")  # as if it had died before
    assert _predict(source, out, model, "--dicom")[0] == 0
    assert (out / "p1_dicom" / "seg.dcm").stat().st_mtime_ns != before
    # what was written with identity is not taken for what was asked for without
    assert _predict(source, out, model, "--dicom", "--deidentify")[0] == 0
    assert dcmread(out / "p1_dicom" / "seg.dcm").PatientID.startswith("SFG-")
    # our own results are no inputs
    with pytest.raises(SfgMedError, match="DICOM series, found none"):
        _predict(out, tmp_path / "again", model, "--dicom")
    assert _leftovers(out) == []


def test_deidentify_alone_is_refused(tmp_path, model) -> None:
    assert _predict(tmp_path, tmp_path / "out", model, "--deidentify")[0] == 2


@pytest.mark.shared
@pytest.mark.slow
def test_real_series_and_its_nifti_give_the_same_and_organs_survive_dicom(tmp_path, shared_data) -> None:
    folder, model = shared_data / "dicom_mr", demonstration_model()
    assert _predict(folder / "prostate3t_0001_t2_tra", tmp_path / "d", model, "--dicom")[0] == 0
    assert _predict(folder / "prostate3t_0001_t2.nii.gz", tmp_path / "n", model)[0] == 0
    for name in ("ct", "seg"):
        a = nib.load(tmp_path / "d" / f"prostate3t_0001_t2_tra_{name}.nii.gz")
        b = nib.load(tmp_path / "n" / f"prostate3t_0001_t2_{name}.nii.gz")
        np.testing.assert_allclose(a.affine, b.affine, atol=1e-5)
        difference = np.abs(np.asarray(a.dataobj, np.int32) - np.asarray(b.dataobj, np.int32))
        # the NIfTI has its affine in single precision: a value on the edge of rounding may fall to the other side
        assert name == "seg" or difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
    _check_organs(tmp_path / "d", "prostate3t_0001_t2_tra", tmp_path)


def _check_organs(out: Path, case: str, folder: Path) -> None:
    """Contours and segments of a case are the organs of its NIfTI, by our own rasteriser and by other programs."""
    nifti = nib.load(out / f"{case}_seg.nii.gz")
    labels, voxel_ml = np.asarray(nifti.dataobj), float(np.prod(nifti.header.get_zooms())) / 1000
    masks = {name.replace("_", " "): labels == value for name, value in PELVIS_LABELS.items()}
    masks = {name: mask for name, mask in masks.items() if mask.sum() * voxel_ml > 1}
    assert len(masks) >= 3
    dicom = out / f"{case}_dicom"
    structures = dcmread(dicom / "seg_rtstruct.dcm")
    contours = {c.ReferencedROINumber: c.get("ContourSequence", []) for c in structures.ROIContourSequence}
    numbers = {roi.ROIName: roi.ROINumber for roi in structures.StructureSetROISequence}
    for name, mask in masks.items():
        assert dice(rasterised(contours[numbers[name]], nifti.affine, mask.shape), mask) >= 0.98, name
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(dicom / "ct")))
    grid = reader.Execute()
    found = structure_set_masks(dicom / "seg_rtstruct.dcm", grid, folder)
    segments = segmentation_masks(dicom / "seg.dcm", folder / "segments")
    for name, mask in masks.items():
        assert dice(found[name], mask) >= 0.98, name
        segment = sitk.Resample(segments[name][0], grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        assert dice(sitk.GetArrayFromImage(segment).T > 0, mask) >= 0.98, name
