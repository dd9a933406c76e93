# SPDX-License-Identifier: Apache-2.0
"""``qc.html``: every case, its numbers, its pictures, and nothing from outside."""

import csv
import json
import re

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.errors import SfgMedError
from sfg_med.report.flags import flag_words
from sfg_med.report.organ_charts import HEIGHT, WIDTH
from sfg_med.report.prediction_page import read_metrics, write_qc_page
from sfg_med.report.viewer import write_viewer


def _page(root, self_contained, **options):
    path = write_qc_page(root / "out", **options)
    assert path == root / "out" / "qc.html"
    return self_contained(path.read_text())


def _change(root, change):
    path = root / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_every_case_number_flag_and_failure(predicted, self_contained):
    page = _page(predicted, self_contained)
    for text in ("case1", "case<2>", "broken", "a line about a <broken> file", "0123abcd" * 8):
        assert text in page.words
    for text in (
        "2 done",
        "1 failed",
        "1 flagged",
        "not for clinical use",
        "2026-11-22T01:40:12",
        "cpu (x86_64), bf16",
    ):
        assert text in page.words
    assert flag_words("fov_edge:bladder") in page.words
    assert "prostate 30.0 41.2" in page.words.replace("41.3", "41.2")
    assert "rectum 32.0 –" in page.words
    assert "simulated" not in page.words
    assert "MAE" not in page.words


def test_pictures_are_valid_and_right(predicted, self_contained, decode):
    page = _page(predicted, self_contained)
    pictures = [decode(uri) for uri in page.values("href") if uri.startswith("data:")]
    assert len(pictures) == 2 * 5 * 3  # cases; MR, organs, three CT windows; planes
    assert [p.shape for p in pictures[:3]] == [(20, 24), (18, 24), (18, 20)]
    labels = page.values("aria-label")
    assert sum("W 400 L 40" in label for label in labels) == 6
    boxes = [tuple(map(float, box.split())) for box in page.values("viewbox")]
    boxes = [box for box in boxes if box[2:] != (WIDTH, HEIGHT)]  # without the charts
    # 24 x 20 x 18 voxels of 2 x 2 x 4 mm in a common frame of 48 mm
    assert [box[2:] for box in boxes[:3]] == [(48, 40), (48, 72), (48, 72)]
    assert len([d for tag, name, d in page.attributes if tag == "path" and name == "d"]) > 6


def test_soft_tissue_window_is_what_the_file_holds(predicted, self_contained, decode):
    ct = np.full((24, 20, 18), -160, np.int16)
    ct[12:] = 240  # the affine flips the first axis: the high half is the patient's right
    nib.save(nib.Nifti1Image(ct, np.diag([-2.0, -2.0, 4.0, 1.0])), predicted / "out" / "case1" / "mr_ct.nii.gz")
    page = _page(predicted, self_contained)
    labels = [label for label in page.values("aria-label") if " slice " in label]
    pictures = [decode(uri) for uri in page.values("href") if uri.startswith("data:")]
    axial = pictures[next(i for i, label in enumerate(labels) if "Synthetic CT, axial" in label)]
    # Increasing index runs to the patient's left, which is on the right of the picture.
    assert axial[:, :10].max() < 10
    assert axial[:, -10:].min() > 245


def test_with_reference_and_metrics(predicted, self_contained, decode):
    columns = ["case", "mae_hu", "psnr_db", "ssim", "ms_ssim", "mae_bone_hu"]
    organs = ["prostate", "bladder", "rectum", "femoral_head_left", "femoral_head_right"]
    columns += [f"dice_{o}" for o in organs] + [f"hd95_mm_{o}" for o in organs]
    numbers = [37.77, 29.11, 0.8765, 0.9123, 133.3, 0.701, 0.702, 0.703, 0.704, 0.705, 7.1, 7.2, 7.3, "", 7.5]
    path = predicted / "metrics.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, ["case1", *numbers]])
    page = _page(predicted, self_contained, metrics_csv=path, reference_dir=predicted / "data")
    for text in ("MAE (HU) 37.8", "PSNR (dB) 29.1", "0.876", "0.912", "133.3", "case1 done 37.8 0.703 30.0 31.0"):
        assert text in page.words.replace("0.877", "0.876")
    assert "bladder 31.0 41.2 0.702 7.2" in page.words
    assert "femoral head left 33.0 41.2 0.704 –" in page.words
    assert "Reference CT" in page.words
    assert "synthetic minus reference" in page.words
    pictures = [decode(uri) for uri in page.values("href") if uri.startswith("data:")]
    assert len(pictures) == 2 * 9 * 3
    assert sum("true" in value.split() for value in page.values("class")) >= 6


def test_uncertainty_maps(predicted, self_contained):
    for key in ("ct_std", "seg_entropy"):
        array = np.random.default_rng(0).random((24, 20, 18)).astype(np.float32)
        path = predicted / "out" / "case1" / f"mr_{key}.nii.gz"
        nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, 4.0, 1.0])), path)
    assert "Uncertainty of" not in _page(predicted, self_contained).words  # of another run: the manifest has none
    maps = {key: f"case1/mr_{key}.nii.gz" for key in ("ct_std", "seg_entropy")}
    _change(predicted, lambda manifest: manifest["cases"][0]["files"].update(maps))
    page = _page(predicted, self_contained)
    assert "Uncertainty of ct" in page.words
    assert "Uncertainty of organs" in page.words
    assert "1.8 nats" in page.words


def test_input_that_is_gone(predicted, self_contained):
    (predicted / "data" / "case1" / "mr.nii.gz").unlink()
    page = _page(predicted, self_contained)
    assert "is not shown" in page.words
    assert len([uri for uri in page.values("href") if uri.startswith("data:")]) == (3 + 5) * 3


def test_a_file_that_cannot_be_read_costs_its_own_pictures_only(predicted, self_contained):
    (predicted / "out" / "case1" / "mr_ct.nii.gz").write_bytes(b"nonsense")
    page = _page(predicted, self_contained)
    assert "No pictures:" in page.words
    assert len([uri for uri in page.values("href") if uri.startswith("data:")]) == 15


def test_simulated_data_is_called_simulated(predicted, self_contained):
    (predicted / "data" / "simulation.json").write_text("{}")
    assert "simulated data" in _page(predicted, self_contained).words


def test_flagged_cases_are_pictured_first(predicted, self_contained):
    _change(predicted, lambda manifest: manifest["cases"].insert(0, manifest["cases"].pop(1)))
    page = _page(predicted, self_contained, pictured=1)
    assert "drawn for 1 cases only" in page.words
    assert len([uri for uri in page.values("href") if uri.startswith("data:")]) == 15


def test_other_image_and_no_organs(predicted, self_contained):
    image = {"kind": "image", "name": "ct", "unit": "1e-6 mm2/s", "value_range": [0, 4000], "fill": 0}

    def change(manifest):
        manifest["model"]["spec"]["tasks"] = [image]

    _change(predicted, change)
    page = _page(predicted, self_contained)
    assert "Synthetic ct" in page.words
    assert "1e-6 mm2/s" in page.words
    assert "prostate" not in page.words


def test_fifty_cases_stay_small(predicted):
    generator = np.random.default_rng(0)
    noise = generator.integers(-200, 300, (133, 100, 67)).astype(np.int16)
    for path in (predicted / "out" / "case1" / "mr_ct.nii.gz", predicted / "data" / "case1" / "mr.nii.gz"):
        nib.save(nib.Nifti1Image(noise, np.diag([3.0, 3, 3, 1])), path)
    labels = np.zeros(noise.shape, np.uint8)
    labels[40:80, 40:60, 20:40] = 1
    nib.save(nib.Nifti1Image(labels, np.diag([3.0, 3, 3, 1])), predicted / "out" / "case1" / "mr_seg.nii.gz")
    _change(predicted, lambda m: m.update(cases=[{**m["cases"][0], "case": f"case{i}"} for i in range(50)]))
    path = write_qc_page(predicted / "out")
    assert path.stat().st_size < 50 * 250_000  # of pure noise, which no picture format can shrink


def test_limits_and_where_they_come_from(predicted, self_contained):
    limits = {"volume_ml": {"bladder": {"range": [40, None], "source": "our ward"}}}
    _change(predicted, lambda m: m.update(limits=limits))
    words = _page(predicted, self_contained).words
    assert "volume_ml bladder 40.0 – our ward" in words
    assert "volume 31.0 ml, expected 40 to – (our ward)" in words


def test_a_label_set_brings_its_colours_to_the_page_and_the_viewer(predicted, self_contained):
    own = {"bladder": {"colour": [1, 2, 3]}}
    _change(predicted, lambda m: m["model"]["spec"]["tasks"][1].update(structures=own))
    page = _page(predicted, self_contained)
    swatches = [style for style in page.values("style") if style.startswith("background:#")]
    assert swatches[:3] == ["background:#ffb000", "background:#010203", "background:#ff6f91"]
    assert {"#ffb000", "#010203"} <= set(page.values("stroke"))
    assert "#4fc3ff" not in page.values("stroke")
    viewer = write_viewer(predicted / "out", "case1").read_text()
    layers = json.loads(re.search(r'id="layers">(.*?)</script>', viewer)[1])
    table = next(layer["labels"] for layer in layers if layer["labels"])
    assert [table[c][table["labels"].index("bladder")] for c in "RGB"] == [1, 2, 3]


def test_mistakes_are_one_error(predicted, tmp_path):
    with pytest.raises(SfgMedError, match=r"absent\.csv"):
        write_qc_page(predicted / "out", metrics_csv=tmp_path / "absent.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SfgMedError, match="evaluate"):
        read_metrics(tmp_path / "other.csv")
    with pytest.raises(SfgMedError, match=r"manifest\.json"):
        write_qc_page(predicted / "data")


def test_command(predicted):
    result = CliRunner().invoke(app, ["report", str(predicted / "out"), "-r", str(predicted / "data")])
    assert result.exit_code == 0
    assert (predicted / "out" / "qc.html").is_file()
    with pytest.raises(SfgMedError, match="neither"):
        CliRunner().invoke(app, ["report", str(predicted / "data")], catch_exceptions=False)
