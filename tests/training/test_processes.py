# SPDX-License-Identifier: Apache-2.0
"""Several processes: torchrun with gloo, as in the header of configs/multi_gpu_train.yaml."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sfg_med.model_file import load_model
from sfg_med.training.runner import config_dir

pytestmark = pytest.mark.slow


def torchrun(dataset: Path, run: Path, overrides: dict[str, Any], *configs: Path) -> None:
    files = [*(str(config_dir() / name) for name in ("train.yaml", "multi_gpu_train.yaml")), *map(str, configs)]
    words = ["--dataset_dir", str(dataset), "--run_dir", str(run)]
    for key, value in overrides.items():
        words += [f"--{key}", str(value)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *("-m", "monai.bundle", "run", "--config_file", str(files), "--logging_file", "False", *words),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_train_one_model_and_go_on_after_an_end(
    tiny: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    overrides = {k: v for k, v in tiny.items() if k != "device"} | {"batch_size": 1, "log_interval": 1}
    torchrun(tiny_dataset, run, overrides | {"steps": 2})
    first = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    torchrun(tiny_dataset, run, overrides | {"steps": 4})
    second = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    assert (first["trainer"]["iteration"], second["trainer"]["iteration"]) == (2, 4)
    assert any(not torch.equal(v, second["network"][k]) for k, v in first["network"].items())

    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(r["step"], r["split"], r["name"]) for r in rows}) == len(rows), "one process writes"
    assert {r["step"] for r in rows if r["name"] == "loss"} == {"1", "2", "3", "4"}
    assert {r["step"] for r in rows if r["name"] == "score"} == {"2", "4"}
    assert all(math.isfinite(float(r["value"])) for r in rows)
    load_model(run / "models" / "model.safetensors")
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last.pt", "best.pt"}


def test_variances_of_the_weighting_are_one_model_in_two_processes(
    tiny: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    """DistributedDataParallel does not know the loss; every process would learn its own variances."""
    overrides = {k: v for k, v in tiny.items() if k != "device"} | {"weighting": "homoscedastic"}
    last = tmp_path / "last.yaml"
    save = "$torch.save(@loss.state_dict(), str(@run_dir) + '/loss' + str(@rank) + '.pt')"
    last.write_text(json.dumps({"finalize": [save, "$torch.distributed.destroy_process_group()"]}))
    torchrun(tiny_dataset, tmp_path / "run", overrides, last)
    first, second = (torch.load(tmp_path / "run" / f"loss{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value != 0
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)
