# SPDX-License-Identifier: Apache-2.0
"""``sfg-med train --config configs/examples/finetune.yaml``: from a shipped form of a model to one that predicts."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.errors import SfgMedError
from sfg_med.model_file import load_model, save_model
from sfg_med.training.runner import config_dir, train, training_workflow
from tests.training.interruption import InterruptAt, Interruption
from tests.training.test_resume import assert_same_tensors, last_weights

FINETUNE = config_dir() / "examples" / "finetune.yaml"
QUICK = {"steps": 4, "steps_per_epoch": 2, "num_workers": 0, "precision": "fp32", "device": "$torch.device('cpu')"}


def sfg_med(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def compact(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run's model in the form that is shipped. Not to be changed."""
    path = tmp_path_factory.mktemp("compact") / "shipped.safetensors"
    done = sfg_med("export", "-m", tiny_run, "-o", path, "--format", "compact")
    assert done.exit_code == 0, done.output
    return path


@pytest.fixture
def partial(tiny_dataset: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """One case without CT, one without organs; and a second folder in another layout with the prostate only."""
    folder, second = tmp_path / "mine", tmp_path / "second"
    shutil.copytree(tiny_dataset, folder)
    for name in ("case002/ct", "case003/seg"):
        (folder / f"{name}.nii.gz").unlink()
    second.mkdir()
    shutil.copy(tiny_dataset / "case000" / "mr.nii.gz", second / "p_t2.nii.gz")
    seg = nib.load(tiny_dataset / "case000" / "seg.nii.gz")
    nib.save(nib.Nifti1Image((np.asarray(seg.dataobj) == 1).astype(np.uint8), seg.affine), second / "p_gland.nii.gz")
    (second / "splits.json").write_text(json.dumps({"train": ["p"]}))
    files = {"mr": "{case}_t2", "seg": "{case}_gland"}
    return folder, {"path": str(second), "files": files, "labels": {"seg": {"prostate": 1}}}


def finetune(run: Path, data: Path, start: object, observers: tuple[Any, ...] = (), **changes: Any) -> Path:
    values = {"dataset_dir": str(data), "run_dir": str(run), "initial_weights": str(start), **QUICK, **changes}
    return train(training_workflow([config_dir() / "train.yaml", FINETUNE], values), observers)


def test_one_command_from_a_compact_model_and_partial_labels_to_predictions(
    compact: Path, partial: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    data, extra = partial
    words = [
        f"{k}={v}" for k, v in {**QUICK, "initial_weights": compact, "extra_datasets": f"[{json.dumps(extra)}]"}.items()
    ]
    run = tmp_path / "run"
    done = sfg_med("train", "--config", FINETUNE, "--dataset-dir", data, "--run-dir", run, "--quiet", *words)
    assert done.exit_code == 0, done.output
    assert {"case002", "case003", "p"} <= set(json.loads((run / "splits.json").read_text())["train"])

    before, tuned = load_model(compact, trainable=True), load_model(run / "models" / "model.safetensors")
    assert tuned.metadata["compact"]
    assert (tuned.spec.tasks, tuned.spec.patch_size) == (before.spec.tasks, before.spec.patch_size)
    after = load_model(tuned.path, trainable=True).network
    for name, groups in before.network.assignments().items():
        assert torch.equal(after.assignments()[name], groups)
    assert not torch.equal(after.head.weight, before.network.head.weight)  # type: ignore[operator]
    shares = json.loads((run / "groups.json").read_text())
    assert shares["steps"] == [0, 2, 4]
    assert shares["shares"][0] == shares["shares"][-1]

    mr = data / "case005" / "mr.nii.gz"
    done = sfg_med("predict", "-i", mr, "-o", tmp_path / "out", "-m", run, "--device", "cpu", "--quiet")
    assert done.exit_code == 0, done.output
    assert nib.load(tmp_path / "out" / "mr_ct.nii.gz").shape == nib.load(mr).shape


@pytest.mark.parametrize("missing", ["ct", "seg"])
def test_with_organs_only_or_ct_only_a_best_network_is_still_chosen(
    missing: str, compact: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_dataset, data, ignore=lambda *_: [f"{missing}.nii.gz"])
    run = finetune(tmp_path / "run", data, compact, steps=2)
    with (run / "history.csv").open(newline="") as file:
        (score,) = [
            float(r["value"]) for r in csv.DictReader(file) if (r["split"], r["name"]) == ("validation", "score")
        ]
    assert math.isfinite(score)
    assert (run / "checkpoints" / "best.pt").is_file()
    heads = [load_model(p, trainable=True).network.head.weight for p in (compact, run / "models" / "model.safetensors")]
    moved = (heads[0] != heads[1]).flatten(1).any(1).tolist()  # type: ignore[operator]
    assert any(moved[:1]) == (missing != "ct")
    assert any(moved[1:]) == (missing != "seg")


def test_a_resumed_run_does_not_load_the_start_again(compact: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    whole = finetune(tmp_path / "whole", tiny_dataset, compact)
    start = tmp_path / "start.safetensors"
    shutil.copy(compact, start)
    with pytest.raises(Interruption):
        finetune(tmp_path / "cut", tiny_dataset, start, (InterruptAt(4),))
    other = load_model(start, trainable=True)  # the same network with other weights takes the start's place
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.zero_()
    save_model(start, other.network, other.spec, compact=True, provenance={})
    resumed = finetune(tmp_path / "cut", tiny_dataset, start)
    first, second = last_weights(whole), last_weights(resumed)
    for part in ("network", "optimizer", "lr_scheduler"):
        assert_same_tensors(first[part], second[part])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"initial_weights": "nowhere.safetensors"}, "nowhere.safetensors.*initial_weights a model file"),
        ({"network": {"name": "SFGUNet", "spatial_dims": 3, "in_channels": 1, "channels": [4, 12]}}, "in the network"),
        ({"strategy": "single-task"}, "initial_layers=common"),
        ({"weighting": "heteroscedastic"}, "head.*initial_layers=common"),
        ({"initial_layers": "some"}, "common or all"),
        ({"network::channels": [4, 8]}, "did you mean network"),
    ],
)
def test_what_does_not_fit_is_one_line_before_training(
    compact: Path, tiny_dataset: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    start = changes.pop("initial_weights", compact)
    with pytest.raises(SfgMedError, match=words) as caught:
        finetune(tmp_path / "run", tiny_dataset, start, **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "checkpoints").exists()
