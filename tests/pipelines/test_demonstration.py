# SPDX-License-Identifier: Apache-2.0
"""The recipes of the shipped model and of its ablation, by the commands that one types; tiny networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.ablation import VARIANTS
from sfg_med.model_file import load_model
from sfg_med.training.runner import config_dir, parse_overrides, training_workflow

TINY = (
    "spacing_mm=[12,12,12]",
    "patch_size=[32,24,16]",
    "network::channels=[4,8]",
    "network::strides=[2]",
    "network::kernel_sizes=[3,3]",
    "steps=2",
    "steps_per_epoch=1",
    "val_interval=2",
    "num_workers=0",
)


def _run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", f"pipelines.{module}", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_one_command_makes_model_and_card_and_a_second_call_makes_nothing_anew(tmp_path: Path) -> None:
    options = ("--out", str(tmp_path), "--cases", "9", "--spacing", "12", "--jobs", "2", "--threads", "1", *TINY)
    first = _run("demonstration", *options)
    assert first.returncode == 0, first.stdout + first.stderr
    model = load_model(tmp_path / "demonstration.safetensors")
    assert model.metadata["compact"]
    assert model.metadata["provenance"]["train"] == [f"case00{i}" for i in range(5)]
    card = (tmp_path / "README.md").read_text()
    assert model.sha256 in card
    assert "| seed | 2027 |" in card
    assert "| simulated men who test | 3 |" in card
    parts = json.loads((tmp_path / "simulated" / "splits.json").read_text())
    assert {name: len(part) for name, part in parts.items()} == {"train": 5, "validation": 1, "test": 3}
    for name in ("MAE (HU)", "mean Dice", "Dice femoral head left"):
        assert f"| {name} | " in card
    assert "python -m pipelines.demonstration --out" in card
    again = _run("demonstration", *options)
    assert again.returncode == 0
    assert "0 simulated, 9 were there already" in again.stdout
    assert load_model(tmp_path / "demonstration.safetensors").sha256 == model.sha256


@pytest.mark.slow
def test_the_ablation_trains_and_scores_the_variant_that_is_asked_for(tmp_path: Path) -> None:
    options = ("--cases", "9", "--spacing", "12", "--jobs", "2", "--threads", "1", *TINY)
    result = _run("ablation", "--out", str(tmp_path), "--variants", "nothing", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "nothing" / "models" / "model.safetensors").is_file()
    assert "pipelines.real_volumes -m nothing=" in result.stdout
    table = (tmp_path / "simulated.md").read_text().splitlines()
    assert [line.split()[1] for line in table[2:]] == ["nothing"]
    assert (tmp_path / "narrow" / "case000").is_dir()
    assert len(list((tmp_path / "nothing-simulated" / "predictions").glob("case0*"))) == 3
    again = _run("ablation", "--out", str(tmp_path), "--variants", "nothing", *options)
    assert again.stdout.count("0 simulated, 9 were there already") == 2
    assert "$ sfg-med train" not in again.stdout
    assert "$ sfg-med predict" not in again.stdout
    start = tmp_path / "nothing"
    # the network, its voxels and patches are those of the start
    own = [word for word in options if not word.startswith(("network", "spacing_mm=", "patch_size="))]
    further = _run("ablation", "--out", str(tmp_path), "--variants", "narrow-anatomy", "--start", str(start), *own)
    assert further.returncode == 0, further.stdout + further.stderr
    run = json.loads((tmp_path / "narrow-anatomy" / "run.json").read_text())
    assert f"initial_weights={start}" in json.dumps(run)


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        ("demonstration", ("--until", "noon"), "--until"),
        ("ablation", ("--variants", "all,colour"), "colour"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, module: str, words: tuple[str, ...], said: str) -> None:
    result = _run(module, "--out", str(tmp_path / "out"), *words)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_leaves_its_ingredient_out(name: str, tiny_dataset: Path, tmp_path: Path) -> None:
    configs = [config_dir() / f"{c}.yaml" for c in ("train", "randomised", "ablation")]
    values = {"dataset_dir": str(tiny_dataset), "run_dir": str(tmp_path), **parse_overrides(VARIANTS[name])}
    config = training_workflow(configs, values).parser
    switches = {key: config.get(key) for key in ("contrast", "resolution", "artefacts", "small_fields")}
    off = {key for key, value in switches.items() if value == 0}
    expected = {"nothing": set(switches), "no-randomisation": set(switches), "all": set(), "narrow-anatomy": set()}
    assert off == expected.get(name, {name.removeprefix("no-").replace("-", "_")})
