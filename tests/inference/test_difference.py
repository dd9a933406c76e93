# SPDX-License-Identifier: Apache-2.0
"""What a change of a model costs, against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.data.cases import Dataset, find_cases
from sfg_med.inference.difference import Difference, compare_predictions
from sfg_med.inference.predictor import Predictor
from sfg_med.model_file import load_model, save_model
from sfg_med.networks import build_network
from sfg_med.spec import ModelSpec


class Fixed:
    """Predicts what it is told."""

    def __init__(self, spec: ModelSpec, ct: np.ndarray, seg: np.ndarray) -> None:
        from sfg_med.inference.prediction import Prediction

        self.spec = spec
        self.result = Prediction(images={"ct": ct}, labels={"seg": seg})

    def predict(self, volume: object, *, case: str = "") -> object:
        return self.result


def test_differences_by_hand(save_nifti, tmp_path: Path) -> None:
    affine, shape = np.diag([2.0, 2.0, 2.0, 1]), (6, 5, 4)
    ct, seg, mask = np.zeros(shape), np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    mask[:3], seg[0], seg[1] = 1, 1, 2
    ct[5, 0, 0] = 50.0  # outside the body
    for name, array in (("mr", np.arange(120.0).reshape(shape)), ("ct", ct), ("seg", seg), ("mask", mask)):
        save_nifti(tmp_path / "a" / f"{name}.nii.gz", array, affine)
    spec = ModelSpec()
    cases = find_cases(Dataset(tmp_path), spec)
    worse = seg.copy()
    worse[1, 0] = 0  # one fifth of the bladder is lost: Dice 2 * 4 / (5 + 4)
    before, after = Fixed(spec, ct + 4.0, seg), Fixed(spec, np.where(mask, ct - 10.0, 999.0), worse)
    found = compare_predictions(before, after, cases)  # type: ignore[arg-type]
    assert found.cases == 1
    assert found.hu == pytest.approx(14.0)
    assert found.mae == pytest.approx(10.0 - 4.0)
    assert found.dice == pytest.approx((0 + 1 - 8 / 9) / 2)
    assert not found.accepted
    (tmp_path / "a" / "seg.nii.gz").unlink()
    (tmp_path / "a" / "ct.nii.gz").unlink()
    alone = compare_predictions(before, after, find_cases(Dataset(tmp_path), spec))  # type: ignore[arg-type]
    assert math.isnan(alone.mae)
    assert alone.dice == pytest.approx((1 - 8 / 9) / 2)
    assert json.loads(json.dumps(alone.to_dict()))["mae"] is None


def test_an_organ_that_only_one_of_them_finds_counts_in_full(save_nifti, tmp_path: Path) -> None:
    affine, shape, spec = np.diag([2.0, 2.0, 2.0, 1]), (6, 5, 4), ModelSpec()
    ct, seg = np.zeros(shape), np.zeros(shape, np.int16)
    seg[0] = 1
    more = seg.copy()
    more[5, 4, 3] = 3
    save_nifti(tmp_path / "a" / "mr.nii.gz", np.arange(120.0).reshape(shape), affine)
    less, added = Fixed(spec, ct, seg), Fixed(spec, ct, more)
    for truth, sign in ((None, 1), (seg, -1)):
        if truth is not None:
            save_nifti(tmp_path / "a" / "seg.nii.gz", truth, affine)
        cases = find_cases(Dataset(tmp_path), spec)
        # of the five organs three are nowhere, and left out
        assert compare_predictions(less, added, cases).dice == pytest.approx(1 / 2)  # type: ignore[arg-type]
        assert compare_predictions(added, less, cases).dice == pytest.approx(sign / 2)  # type: ignore[arg-type]
        assert compare_predictions(less, less, cases).dice == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hu", "dice", "accepted"),
    [(0.9, 0.0009, True), (1.1, 0.0, False), (0.1, 0.002, False), (math.nan, 0.0, True), (0.5, -0.5, True)],
)
def test_what_is_accepted(hu: float, dice: float, accepted: bool) -> None:
    assert Difference(3, hu, 0.0, dice).accepted is accepted


def _model(path: Path, scale: float = 1.0) -> Path:
    torch.manual_seed(0)
    options = {"name": "SFGUNet", "channels": [8, 64], "group_init": "dirichlet"}
    spec = ModelSpec(network=options, spacing_mm=(10.0, 10.0, 10.0), patch_size=(32, 32, 16))
    network = build_network(spec)
    for parameter in network.head.parameters():
        parameter.data *= scale
    save_model(path, network, spec, provenance={"seed": 0})
    return path


def test_export_rounds_where_predictions_stay_and_says_so(tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "compact.safetensors"
    model = _model(tmp_path / "model.safetensors", 1e-6)  # too small an output to change by a HU
    words = ["export", "-m", model, "-o", out, "--dataset-dir", tiny_dataset]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("rounding")]
    assert "kept" in line
    loaded = load_model(out)
    assert loaded.metadata["checks"]["rounding"]["accepted"]
    sizes = [torch.bincount(a) for n, a in load_model(model).network.assignments().items() if len(a) == 64]
    rounded = [len(w) for w in loaded.network.encoder[1][0].conv.weights]
    assert any((s % 8).any() for s in sizes)
    assert all(n % 8 == 0 for n in rounded)


def test_export_keeps_sizes_where_predictions_would_change(tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "compact.safetensors"
    words = ["export", "-m", _model(tmp_path / "model.safetensors"), "-o", out, "--dataset-dir", tiny_dataset]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("rounding")]
    assert "not used" in line
    assert not load_model(out).metadata["checks"]["rounding"]["accepted"]


def test_a_model_that_bf16_changes_runs_in_single_precision(standin) -> None:
    model = standin()
    model.metadata["checks"] = {"bf16": {"accepted": False}}
    assert Predictor(model, device="cpu").precision == "fp32"
    assert Predictor(model, device="cpu", precision="bf16").precision == "bf16"


def test_a_wrong_split_is_one_line(tiny_dataset: Path, tmp_path: Path) -> None:
    words = ["-m", _model(tmp_path / "m.safetensors"), "-o", tmp_path / "x", "--dataset-dir", tiny_dataset]
    result = CliRunner().invoke(app, ["export", *map(str, words), "--split", "validate"])
    assert result.exit_code != 0
    assert "train or validation or test" in str(result.exception) + result.output
