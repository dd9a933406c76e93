# SPDX-License-Identifier: Apache-2.0
"""Another anatomy, image and label set, and a second dataset, by configuration only. Tiny runs on the real volumes."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from ignite.engine import Engine, Events
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.training.runner import config_dir

pytestmark = [pytest.mark.slow, pytest.mark.shared]
BRATS = config_dir() / "examples" / "brats2015.yaml"
ICCV2019 = config_dir() / "examples" / "pelvis_iccv2019.yaml"
PROMISE12 = config_dir() / "examples" / "pelvis_promise12.yaml"
QUICK = {"cache_rate": 0.0, "steps": 2, "batch_size": 1, "overlap": 0.1, "log_interval": 1}


class Batches:
    """Cases of each batch and what they were annotated for."""

    def __init__(self) -> None:
        self.seen: list[dict[str, tuple[float, list[float]]]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        batch = engine.state.batch
        known = zip(batch["ct_annotated"][:, 0].tolist(), batch["seg_annotated"].tolist(), strict=True)
        self.seen.append(dict(zip(batch["case"], known, strict=True)))


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def sfg_med(*words: object) -> str:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_brats_trains_predicts_and_is_scored(
    train_tiny: Callable[..., Path], shared_data: Path, tmp_path: Path
) -> None:
    data = shared_data / "brats2015_pairs"
    run = train_tiny(tmp_path / "run", (BRATS,), dataset_dir=str(data), fold=2, spacing_mm=[5.0, 5.0, 5.0], **QUICK)
    splits = json.loads((run / "splits.json").read_text())
    assert [len(splits[part]) for part in ("train", "validation", "test")] == [2, 1, 1]
    rows = history(run)
    assert all(math.isfinite(float(r["value"])) for r in rows)
    assert {r["name"] for r in rows if r["split"] == "validation"} == {"score", "mae_flair", "dice_seg"}
    (case,) = splits["test"]
    sfg_med(
        *("predict", "-i", data / f"{case}_t1c.nii.gz", "-o", tmp_path / "out"),
        *("-m", run / "models" / "model.safetensors", "--quiet", "--device", "cpu"),
    )
    source = nib.load(data / f"{case}_t1c.nii.gz")
    flair = nib.load(tmp_path / "out" / f"{case}_t1c_flair.nii.gz")
    seg = nib.load(tmp_path / "out" / f"{case}_t1c_seg.nii.gz")
    assert flair.shape == seg.shape == source.shape
    np.testing.assert_allclose(flair.affine, source.affine)
    assert set(np.unique(np.asarray(seg.dataobj))) <= {0, 1, 2, 3, 4}

    reference = tmp_path / "brats.json"
    reference.write_text(json.dumps({"path": str(data), "files": yaml.safe_load(BRATS.read_text())["files"]}))
    sfg_med("evaluate", "-p", tmp_path / "out", "-r", reference, "-o", tmp_path / "scores", "--quiet")
    with (tmp_path / "scores" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    inside = np.asarray(nib.load(data / f"{case}_brainmask.nii.gz").dataobj) > 0
    truth = np.asarray(nib.load(data / f"{case}_flair.nii.gz").dataobj).astype(float)
    error = np.abs(np.asarray(flair.dataobj).astype(float) - truth)[inside].mean()
    assert float(row["mae_flair"]) == pytest.approx(error, rel=1e-3)
    assert {"dice_necrosis", "dice_oedema", "dice_non_enhancing", "dice_enhancing"} <= set(row)


def test_leave_one_patient_out_tests_every_patient_once(shared_data: Path) -> None:
    from sfg_med.spec import make_spec
    from sfg_med.training import training_parts

    config: dict[str, Any] = {
        **yaml.safe_load((config_dir() / "train.yaml").read_text()),
        **yaml.safe_load(BRATS.read_text()),
    }
    keys = ("tasks", "spacing_mm", "patch_size", "network", "input_name")
    spec = make_spec(**{k: config[k] for k in keys})
    dataset = {"path": shared_data / "brats2015_pairs", "files": config["files"]}
    tested = []
    for fold in range(config["folds"]):
        parts = training_parts([dataset], spec, config["folds"], fold, seed=0)
        tested += [item["case"] for item in parts["test"]]
    assert sorted(tested) == ["pat0002", "pat0003", "pat0005", "pat0006"]


def test_promise12_joins_the_pelvises_in_one_run(
    train_tiny: Callable[..., Path], shared_data: Path, tmp_path: Path
) -> None:
    batches = Batches()
    run = train_tiny(
        tmp_path / "run",
        (PROMISE12,),
        (batches,),
        dataset_dir=str(shared_data / "pelvis_pairs"),
        promise12_dir=str(shared_data / "promise12"),
        **{**QUICK, "batch_size": 6},
    )
    assert all(math.isfinite(float(r["value"])) for r in history(run))
    seen = {name: known for batch in batches.seen for name, known in batch.items()}
    assert len(seen) == 12
    pelvis = {p.name for p in (shared_data / "pelvis_pairs").iterdir()}
    joined = {name: known for name, known in seen.items() if name not in pelvis}
    assert joined
    assert len(joined) < len(seen)
    assert all(known == (0, [1, 1, 0, 0, 0, 0]) for known in joined.values())
    assert all(known == (1, [1] * 6) for name, known in seen.items() if name in pelvis)
    assert any(0 < len(set(batch) & pelvis) < 6 for batch in batches.seen), "both in one batch"


def test_the_papers_protocol_trains_a_2d_network_on_axial_patches_and_predicts_volumes(
    shared_data: Path, tmp_path: Path
) -> None:
    config = yaml.safe_load(ICCV2019.read_text())
    assert (config["batch_size"], config["steps"], config["patch_size"]) == (10, 200_000, [128, 128, 1])
    data, run = shared_data / "pelvis_pairs", tmp_path / "run"
    small = ["network::channels=[4,4,8,8,8]", "patch_size=[48,48,1]", "spacing_mm=[6.0,6.0,6.0]", "batch_size=2"]
    quick = ["steps=4", "steps_per_epoch=2", "val_interval=2", "cache_rate=0.0", "overlap=0.0", "log_interval=1"]
    sfg_med("train", "--config", ICCV2019, "--dataset-dir", data, "--run-dir", run, "--quiet", *small, *quick)
    assert {row["name"] for row in history(run)} > {"loss_ct", "loss_seg", "temperature"}
    mr = data / "case005" / "mr.nii.gz"
    options = ["--samples", "3", "--overlap", "0", "--quiet", "--device", "cpu"]
    sfg_med("predict", "-i", mr, "-o", tmp_path / "out", "-m", run / "models" / "model.safetensors", *options)
    predicted = nib.load(tmp_path / "out" / "mr_ct.nii.gz")
    assert predicted.shape == nib.load(mr).shape
    assert np.ptp(predicted.get_fdata()) > 0
    # The draws differ from pass to pass.
    assert nib.load(tmp_path / "out" / "mr_ct_std.nii.gz").get_fdata().max() > 0
