# SPDX-License-Identifier: Apache-2.0
"""What a run keeps about itself: run.json, config.json, TensorBoard's files and, if asked for, MLflow's store."""

import csv
import hashlib
import json
import logging
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from sfg_med.errors import SfgMedError
from sfg_med.training.runner import train, training_workflow
from sfg_med.training.stopping import RunStopped
from tests.training.test_resume import assert_same_tensors, last_weights
from tests.training.test_stopping import SignalAt

ROOT = Path(__file__).resolve().parents[2]


def starts(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "run.json").read_text())["starts"]


def content_hash(dataset: Path, run: Path) -> str:
    """Written the slow way: sha256sum of every file that the run read, the lines sorted, hashed."""
    cases = [case for part in json.loads((run / "splits.json").read_text()).values() for case in part]
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.parent.name}/{path.name}"
        for case in cases
        for path in (dataset / case).glob("*.nii.gz")
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def test_a_run_stores_what_it_was_made_with(tiny_run: Path, tiny_dataset: Path) -> None:
    (start,) = starts(tiny_run)
    assert (start["seed"], start["processes"], start["device"]) == (0, 1, "cpu")
    assert start["packages"]["torch"] == version("torch")
    assert start["values"]["epochs"] == 2
    assert start["data"]["sha256"] == content_hash(tiny_dataset, tiny_run)
    assert start["data"]["files"] == len(list(tiny_dataset.glob("*/*.nii.gz")))
    if (ROOT / ".git").exists():
        head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        assert start["commit"].removesuffix("-dirty") == head.stdout.strip()
    assert list((tiny_run / "tensorboard").iterdir())


def test_the_stored_config_makes_the_run_again(tiny_run: Path, tmp_path: Path) -> None:
    workflow = training_workflow([tiny_run / "config.json"], {"run_dir": str(tmp_path / "again")})
    again = train(workflow)
    assert_same_tensors(last_weights(again)["network"], last_weights(tiny_run)["network"])


def test_a_run_that_goes_on_adds_its_start_and_says_when_the_data_changed(
    train_tiny: Callable[..., Path], tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, dataset)
    values = {"dataset_dir": str(dataset), "val_interval": 9}
    run = train_tiny(tmp_path / "run", steps=2, **values)
    image = nib.load(dataset / "case004" / "mr.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), dataset / "case004" / "mr.nii.gz")
    with caplog.at_level(logging.WARNING):
        train_tiny(run, steps=4, **values)
    first, second = starts(run)
    assert second["data"]["sha256"] == content_hash(dataset, run) != first["data"]["sha256"]
    assert "the data are not those" in caplog.text


@pytest.mark.slow
def test_mlflow_keeps_losses_and_metrics_in_its_own_database(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    values = {"mlflow": True, "log_interval": 1}
    with pytest.raises(RunStopped):
        train_tiny(tmp_path / "run", observers=(SignalAt(signal.SIGTERM, 3),), **values)
    run = train_tiny(tmp_path / "run", **values)
    with (run / "history.csv").open(newline="") as file:
        rows = {(r["split"], r["name"], int(r["step"])): float(r["value"]) for r in csv.DictReader(file)}
    with sqlite3.connect(run / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
        stored = {(key, step): value for key, step, value in database.execute("select key, step, value from metrics")}
    for step in range(1, 5):
        assert stored["loss", step] == pytest.approx(rows["train", "loss", step], rel=1e-5)
    for step in (2, 4):
        assert stored["score", step] == pytest.approx(rows["validation", "score", step], rel=1e-5)
    assert {path.name for path in (run / "mlruns").rglob("*.json")} == {"run.json", "config.json"}
    torch.load(run / "checkpoints" / "last.pt", weights_only=True)


def test_mlflow_that_is_not_installed_is_one_line(
    train_tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfg_med.training.tracking.find_spec", lambda name: None)
    with pytest.raises(SfgMedError, match="sfg-med\\[mlflow\\]"):
        train_tiny(tmp_path / "run", mlflow=True)
