# SPDX-License-Identifier: Apache-2.0
"""``sfg-med evaluate``: columns beyond the contract, ranking, uncertainty maps, doses."""

import json

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.errors import SfgMedError
from tests.cli.evaluation import AFFINE, SHAPE, case, results, run, save

EXTRA = ["mae_air_hu", "mae_soft_tissue_hu", "mae_hu_prostate"]


@pytest.fixture
def folders(tmp_path):
    for seed, name in enumerate(("case1", "case2")):
        case(tmp_path, name, seed, error=10 * (seed + 1))
    return tmp_path


def test_further_columns_follow_the_contract(folders):
    pred = folders / "pred" / "case2" / "mr_seg.nii.gz"
    labels = np.asarray(nib.load(pred).dataobj).copy()
    labels[0, 4:9, 4:9] = 0  # a third of the prostate
    save(pred, labels)
    result = run(folders)
    assert result.exit_code == 0, result.output
    rows, summary = results(folders)
    names = list(rows["case1"])
    contract = ["case", "mae_hu", "psnr_db", "ssim", "ms_ssim", "mae_bone_hu"]
    assert names[:6] == contract
    assert all(n.startswith(("dice_", "hd95_mm_")) for n in names[6:16])
    assert names[16:19] == EXTRA
    assert all(
        float(rows[name][n]) == pytest.approx(error)
        for name, error in (("case1", 10), ("case2", 20))
        for n in EXTRA[1:]
    )
    assert float(rows["case2"]["volume_diff_percent_prostate"]) == pytest.approx(-100 / 3)
    assert float(rows["case2"]["volume_diff_ml_prostate"]) == pytest.approx(-25 * 0.012)
    assert float(rows["case2"]["surface_dice_2mm_prostate"]) == pytest.approx(
        1
    )  # the plane that is missing is 2 mm thick
    assert float(rows["case1"]["surface_dice_2mm_bladder"]) == 1
    assert summary["columns"]["volume_diff_ml_prostate"]["worst"][0]["case"] == "case2"
    assert [row["case"] for row in summary["ranking"]] == ["case2", "case1"]
    assert "Largest errors first (image and organs): case2, case1" in result.stdout
    assert "z_sd" not in rows["case1"]  # there are no maps
    assert summary["calibration"] == {}


def test_tissues_are_data(folders):
    (folders / "tissues.json").write_text(json.dumps({"fat": [-200, -20], "dense": [400, None]}))
    assert run(folders, "--tissues", folders / "tissues.json", "--surface-mm", "3").exit_code == 0
    rows, summary = results(folders)
    assert float(rows["case2"]["mae_dense_hu"]) == pytest.approx(20)
    assert "mae_air_hu" not in rows["case1"]
    assert "surface_dice_3mm_rectum" in rows["case1"]
    assert summary["tissues"] == {"fat": [-200, -20], "dense": [400, None]}


@pytest.mark.parametrize("content", ['{"bone": [200, null]}', '{"a b": [0, 1]}', '{"x": [5, 5]}', "[1]", '{"x": 3}'])
def test_tissues_that_cannot_be_columns(folders, content):
    (folders / "tissues.json").write_text(content)
    found = run(folders, "--tissues", folders / "tissues.json").exception
    assert isinstance(found, SfgMedError)
    assert "bone" in str(found)


def test_maps_of_uncertainty_are_judged(folders):
    name, generator = "case1", np.random.default_rng(0)
    truth = np.asarray(nib.load(folders / "ref" / name / "ct.nii.gz").dataobj).astype(float)
    labels = np.asarray(nib.load(folders / "ref" / name / "seg.nii.gz").dataobj).copy()
    save(folders / "pred" / name / "mr_ct.nii.gz", np.rint(truth + generator.normal(0, 50, SHAPE)).astype(np.int16))
    save(folders / "pred" / name / "mr_ct_std.nii.gz", np.full(SHAPE, 25, np.float32))
    labels[2:5, 5, 5] = 5
    entropy = np.where(labels == 5, 1.0, 0.1).astype(np.float32)
    save(folders / "pred" / name / "mr_seg.nii.gz", labels)
    save(folders / "pred" / name / "mr_seg_entropy.nii.gz", entropy)
    assert run(folders).exit_code == 0
    rows, summary = results(folders)
    assert float(rows["case1"]["z_sd"]) == pytest.approx(2, rel=0.1)  # twice as wrong as it says
    assert 0.6 < float(rows["case1"]["coverage_95"]) < 0.75
    assert float(rows["case1"]["error_auroc"]) > 0.95
    assert rows["case2"]["z_sd"] == rows["case2"]["error_auroc"] == ""
    assert summary["calibration"]["ct"]["cases"] == 1
    assert summary["calibration"]["ct"]["z_sd"] == pytest.approx(2, rel=0.1)


def test_unknown_definition(folders):
    assert "synthrad2023" in str(run(folders, "--definition", "synthrad2024").exception)


def _doses(root):
    dose = np.zeros((9, 8, 7))
    dose[2:7, 2:6, 1:6] = 60
    dose = (dose + np.roll(dose, 1, 0)) / 2
    save(root / "ref.nii.gz", dose.astype(np.float32))
    save(root / "pred.nii.gz", (dose * 1.025).astype(np.float32))
    return dose


def _dose(root, *options):
    words = ["-o", root / "out", "--dose-pred", root / "pred.nii.gz", "--dose-ref", root / "ref.nii.gz", *options]
    return CliRunner().invoke(app, ["evaluate", *map(str, words)])


def test_two_doses_by_both_criteria(tmp_path):
    pytest.importorskip("pymedphys")
    dose = _doses(tmp_path)
    result = _dose(tmp_path)
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "out" / "dose.json").read_text())
    assert list(data["gamma"]) == ["2%/2mm", "3%/3mm"]
    assert data["gamma"]["3%/3mm"]["pass_percent"] == 100  # 2.5 % off at the most
    assert 5 < data["gamma"]["2%/2mm"]["pass_percent"] < 95
    assert data["gamma"]["2%/2mm"]["points"] == (dose >= 6).sum()
    assert _dose(tmp_path, "--dose-cutoff", 60).exit_code == 0
    data = json.loads((tmp_path / "out" / "dose.json").read_text())
    assert data["gamma"]["2%/2mm"]["points"] == (dose >= 36).sum() != (dose >= 6).sum()
    assert not (tmp_path / "out" / "metrics.csv").exists()
    assert "gamma 3%/3mm: 100.00 % pass" in result.stdout


def test_rtdose_is_the_same_dose(tmp_path):
    pytest.importorskip("pymedphys")
    pydicom = pytest.importorskip("pydicom")
    from sfg_med.data.dose import read_dose

    dose = _doses(tmp_path)
    data = pydicom.Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.2"
    data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.Modality, data.DoseUnits, data.DoseType = "RTDOSE", "GY", "PHYSICAL"
    data.DoseGridScaling = 60 / 60000
    data.ImagePositionPatient, data.ImageOrientationPatient = [-5, 7, -30], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.GridFrameOffsetVector = [2.5, 2.0], [3.0 * i for i in range(7)]  # rows are 2.5 mm apart
    data.Columns, data.Rows, data.NumberOfFrames = dose.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.PixelData = np.rint(dose.transpose(2, 1, 0) * 1000).astype("<u2").tobytes()
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta = meta
    path = tmp_path / "dose.dcm"
    data.save_as(path, enforce_file_format=True)
    found = read_dose(path)
    affine = np.array([[-2, 0, 0, 5], [0, -2.5, 0, -7], [0, 0, 3, -30], [0, 0, 0, 1]], float)
    save(tmp_path / "same.nii.gz", dose.astype(np.float32), affine)
    expected = read_dose(tmp_path / "same.nii.gz")
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-6)
    np.testing.assert_allclose(found.array, expected.array, atol=1e-3)
    words = ["-o", tmp_path / "out", "--dose-pred", path, "--dose-ref", tmp_path / "same.nii.gz", "--gamma", "1%/1mm"]
    assert CliRunner().invoke(app, ["evaluate", *map(str, words)]).exit_code == 0
    assert json.loads((tmp_path / "out" / "dose.json").read_text())["gamma"]["1%/1mm"]["pass_percent"] == 100
    data.DoseUnits = "RELATIVE"
    data.save_as(path, enforce_file_format=True)
    with pytest.raises(SfgMedError, match="in Gy"):
        read_dose(path)


def test_doses_that_cannot_be_compared(tmp_path):
    dose = _doses(tmp_path)
    turned = AFFINE.copy()
    turned[:2, :2] = 2 * np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    save(tmp_path / "pred.nii.gz", dose.astype(np.float32), turned)
    assert "directions" in str(_dose(tmp_path).exception)
    save(tmp_path / "pred.nii.gz", -dose.astype(np.float32))
    assert "negative" in str(_dose(tmp_path).exception)
    words = ["evaluate", "-o", str(tmp_path / "out"), "--dose-ref", str(tmp_path / "ref.nii.gz")]
    assert "give the other one" in str(CliRunner().invoke(app, words).exception)
    assert "both, or two dose grids" in str(CliRunner().invoke(app, ["evaluate", "-o", "x"]).exception)
    assert not (tmp_path / "out").exists()
