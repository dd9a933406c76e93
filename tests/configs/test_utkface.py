# SPDX-License-Identifier: Apache-2.0
"""configs/utkface.yaml is the paper's protocol (methods.md 1.3, 1.4, 1.7, 1.8, 1.10)."""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.utils import set_determinism

from sfg_med.training.runner import config_dir, train, training_workflow

FILES = [config_dir() / "train.yaml", config_dir() / "utkface.yaml"]
SMALL = {
    "image_size": 32,
    "network::channels": [4, 4, 4, 4, 8, 8, 8, 8],
    "batch_size": 8,
    "steps": 4,
    "steps_per_epoch": 2,
    "log_interval": 2,
    "device": "$torch.device('cpu')",
}


@pytest.fixture
def protocol(noise_faces: Path, tmp_path: Path) -> Iterator[ConfigWorkflow]:
    values = {"dataset_dir": str(noise_faces), "run_dir": str(tmp_path), "device": "$torch.device('cpu')"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
        workflow = training_workflow(FILES, values)
        workflow.initialize()
        yield workflow
    set_determinism(None)


def test_the_defaults_are_the_papers(protocol: ConfigWorkflow) -> None:
    def get(name: str) -> Any:
        return protocol.parser.get_parsed_content(name)

    net = get("net")
    assert type(net).__name__ == "SFGVGG"
    kernels = [layer.weight for layer in net.sharing_layers().values()]
    assert sum(w.numel() for w in kernels) == 9_217_728
    for p in net.group_probabilities().values():
        torch.testing.assert_close(p, torch.tensor([0.2, 0.6, 0.2]).expand_as(p), rtol=0, atol=1e-6)
    slopes = [m.weight for m in net.modules() if isinstance(m, torch.nn.PReLU)]
    assert len(slopes) == 8
    assert all((slope == 0).all() for slope in slopes)
    assert net.groups.names == ("age", "age+gender", "gender")
    batch = next(iter(get("train#dataloader")))
    assert batch["face"].shape == (10, 3, 200, 200)
    assert get("train#random_transforms") == []
    # 330 times the 56 training images, in batches of 10, rounded up to whole epochs of 1,000
    assert get("steps") == 2000
    groups = get("optimizer").param_groups
    assert {(g["lr"], g["weight_decay"], g["betas"]) for g in groups} == {(1e-3, 0.0, (0.9, 0.999))}
    schedule = get("schedule").temperature
    assert schedule(100_000) == pytest.approx(math.exp(-1))
    assert schedule(300_000) == 0.1
    loss = get("loss")
    assert loss.terms["age"].kind == "rmse"
    assert (loss.objective.weight_decay, loss.objective.entropy_weight) == (1e-6, 1e-5)
    optimizer, scheduler = get("optimizer"), get("lr_scheduler")
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [1e-3] * len(groups)
    assert get("validate#inferer").inferer(torch.ones(2), torch.neg).tolist() == [-1, -1]


def test_a_small_run_learns_age_and_gender(noise_faces: Path, tmp_path: Path) -> None:
    """Stripes tell gender by their direction and age by their number: better than the best constant answer."""
    values = {**SMALL, "dataset_dir": str(noise_faces), "run_dir": str(tmp_path), "steps": 240, "steps_per_epoch": 80}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
        workflow = training_workflow(FILES, {**values, "network::channels": [8] * 8, "log_interval": 20})
        train(workflow)
    best = workflow.parser.get_parsed_content("best").best
    ages = torch.tensor([float(item["age"]) for item in workflow.parser.get_parsed_content("parts")["validation"]])
    constant = 0.5 - float((ages - ages.median()).abs().mean()) / 100
    assert best > constant + 0.2
    assert (tmp_path / "models" / "model.safetensors").is_file()
