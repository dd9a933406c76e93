# SPDX-License-Identifier: Apache-2.0
"""The calibration pipeline, from a trained model to its page."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.calibration import main
from sfg_med.data.cases import Dataset, find_cases
from sfg_med.errors import SfgMedError
from sfg_med.inference.prediction import Prediction
from sfg_med.report.calibration_data import case_sums, pooled
from sfg_med.spec import ImageTask, LabelTask, ModelSpec


def _run(*words: object) -> str:
    import typer

    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def variance_run(train_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with learned groups and predicted variances."""
    return train_tiny(tmp_path_factory.mktemp("variance") / "run", weighting="heteroscedastic", image_loss="mse")


def test_from_model_to_page(variance_run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--dataset-dir", tiny_dataset, "-m", variance_run, "--out", out, "--samples", 3, "--device", "cpu")
    assert "z SD" in _run(*words)
    found = json.loads((out / "calibration.json").read_text())
    assert [result["samples"] for result in found["results"]] == [3, 1]
    assert found["simulated"]
    assert found["seen_in_training"] == []
    assert found["cases"] == json.loads((tiny_dataset / "splits.json").read_text())["test"]
    several, single = (result["images"]["ct"] for result in found["results"])
    squares = several["rms_std_parameter"] ** 2 + several["rms_std_intrinsic"] ** 2
    assert several["rms_std"] ** 2 == pytest.approx(squares, rel=0.01)
    assert single["rms_std_parameter"] is None
    assert single["z_sd"] > 0
    assert set(several) == set(single)
    for result in found["results"]:
        organs = result["labels"]["seg"]
        assert len(organs) == 6, "five organs and the best label"
        assert all(0 <= v["ece"] <= 1 and 0 <= v["brier"] <= 1 for v in organs.values())
    with (out / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["samples"] for row in rows] == ["3", "1"]
    assert float(rows[0]["z_sd"]) == pytest.approx(several["z_sd"], rel=1e-4), "one test case"
    page = (out / "index.html").read_text()
    assert "simulated" in page
    assert page.count("<svg") == 4
    assert "http" not in page

    (stored,) = (out / "cases").rglob("samples3.json")
    before = stored.stat().st_mtime_ns
    _run(*words)
    assert stored.stat().st_mtime_ns == before, "finished cases are kept"
    with pytest.raises(SfgMedError, match="seed"):
        _run(*words, "--seed", 1)


def test_a_model_without_variances_has_nothing_to_say_in_one_pass(
    tiny_run: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("--dataset-dir", tiny_dataset, "-m", tiny_run, "--out", out, "--device", "cpu", "--samples", 2)
    _run(*words, "--part", "all")
    found = json.loads((out / "calibration.json").read_text())
    assert [list(result["images"]) for result in found["results"]] == [["ct"], []]
    assert found["results"][0]["images"]["ct"]["rms_std_intrinsic"] is None
    assert len(found["seen_in_training"]) == 4
    assert "trained the model" in (out / "index.html").read_text()


SPEC = ModelSpec(tasks=(ImageTask(), LabelTask(labels={"a": 3, "b": 5})))


def test_sums_of_a_case_by_hand(tmp_path: Path) -> None:
    """Errors of 10 and 20 HU at a predicted 10 HU inside the mask, a wild one outside; probabilities of 0.8."""
    folder = tmp_path / "data" / "p1"
    folder.mkdir(parents=True)
    shape = (4, 4, 4)
    ct, seg, mask = np.zeros(shape, np.int16), np.zeros(shape, np.uint8), np.ones(shape, np.uint8)
    seg[0], mask[3] = 3, 0
    for name, array in (("mr", ct), ("ct", ct), ("seg", seg), ("mask", mask)):
        nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1])), folder / f"{name}.nii.gz")
    case = find_cases(Dataset.of(tmp_path / "data"), SPEC)[0]
    image = np.full(shape, 10.0)
    image[1], image[3] = -20, 999
    p = np.zeros((3, *shape))
    p[1, :2], p[0, :2], p[0, 2:] = 0.8, 0.2, 1
    prediction = Prediction(images={"ct": image}, std={"ct": np.full(shape, 10.0)}, probabilities={"seg": p})
    result = pooled(SPEC, [case_sums(prediction, SPEC, case)])
    ct_values = result["images"]["ct"]
    assert ct_values["voxels"] == 48
    assert ct_values["z_mean"] == pytest.approx((-1 + 2 - 1) / 3)
    assert ct_values["rmse"] == pytest.approx(np.sqrt((100 + 400 + 100) / 3))
    assert ct_values["coverage_80"] == pytest.approx(2 / 3)
    organs = result["labels"]["seg"]
    # all of the small volume lies within 20 mm of a: 16 voxels right and 16 wrong at 0.8, 32 right at 0
    assert organs["a"]["ece"] == pytest.approx(32 * abs(0.8 - 0.5) / 64)
    assert organs["a"]["brier"] == pytest.approx((16 * 0.04 + 16 * 0.64) / 64)
    assert organs["b"] == {"voxels": 0, "ece": None, "brier": None, "curve": []}
    assert organs["best label"]["ece"] == pytest.approx(32 * 0.3 / 48)


def test_wrong_parts_and_models_are_refused(tiny_run: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    words = ("--dataset-dir", tiny_dataset, "-m", tiny_run, "--out", tmp_path / "out", "--device", "cpu")
    with pytest.raises(SfgMedError, match="tests"):
        _run(*words, "--part", "tests")
    copy = shutil.copytree(tiny_dataset, tmp_path / "copy")
    (copy / "splits.json").unlink()
    with pytest.raises(SfgMedError, match="--part all"):
        _run("--dataset-dir", copy, *words[2:])
