# SPDX-License-Identifier: Apache-2.0
"""The UTKFace experiment from end to end, by command, on generated images."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from pipelines.utkface import main
from sfg_med.errors import SfgMedError

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--image-size", 32, "--channels", "4,4,4,4,8,8,8,8", "--steps", 12, "--seeds", 3, "--samples", 5]
SMALL += ["--threads", 1, "steps_per_epoch=2", "batch_size=8", "precision=fp32", "device=$torch.device('cpu')"]


def command(data: Path, out: Path, *arguments: object) -> list[str]:
    words = [sys.executable, "-m", "pipelines.utkface", "--data", data, "--out", out, *SMALL, *arguments]
    return [str(word) for word in words]


def utkface(data: Path, out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(data, out, *arguments), check=False, capture_output=True, text=True, cwd=ROOT)


def mistake(data: Path, out: Path, *arguments: object) -> str:
    """The line that a call in this process ends with."""
    app = typer.Typer()
    app.command()(main)
    error = CliRunner().invoke(app, command(data, out, *arguments)[3:]).exception
    assert isinstance(error, SfgMedError)
    assert "\n" not in str(error)
    return str(error)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_strategies_are_compared_and_misnamed_files_reported(noise_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    strategies = ["--strategies", "hard-sharing,sfg-stochastic"]
    result = utkface(noise_faces, out, *strategies)
    assert result.returncode == 0, result.stderr
    assert "skipped 61_1_20170109142408075.jpg.chip.jpg: " in result.stderr
    assert "80 faces; 1 other images skipped" in result.stdout
    table = {row["strategy"]: row for row in rows(out / "results.csv")}
    assert set(table) == {"hard-sharing", "sfg-stochastic"}
    for strategy, row in table.items():
        folder = out / "runs" / strategy / "seed3-fold0"
        cases = rows(folder / "cases.csv")
        assert len(cases) == 12
        content = json.loads((folder / "result.json").read_text())
        for case in cases:
            assert float(case["true_age"]) == pytest.approx(int(case["case"].split("_")[0]), abs=1e-4)
            assert abs(float(case["age"]) - float(case["true_age"])) == pytest.approx(float(case["mae_age"]), abs=1e-4)
            assert float(case["accuracy_gender"]) in (0, 1)
            assert 0 <= float(case["probability_female"]) <= 1
        for name in ("mae_age", "accuracy_gender"):
            mean = sum(float(case[name]) for case in cases) / len(cases)
            assert content["metrics"][name] == pytest.approx(mean, rel=1e-5)
            assert float(row[name]) == pytest.approx(mean, rel=1e-5)
        assert content["steps"] == 12
        assert content["samples"] == (5 if strategy == "sfg-stochastic" else 1)
        assert not {"true_age", "age", "gender"} & set(content["metrics"])
        assert content["parameters"] > 0
    assert {"mae_age_1pass", "mae_age_argmax"} <= set(content["metrics"])
    page = (out / "index.html").read_text()
    assert "What should age and gender share?" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    again = utkface(noise_faces, out, *strategies)
    assert again.returncode == 0
    assert again.stdout.count("finished before") == 2
    assert "learning_rate=0.1" in mistake(noise_faces, out, *strategies, "learning_rate=0.1")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_numbers(noise_faces: Path, tmp_path: Path) -> None:
    arguments = ["--strategies", "sfg-stochastic"]
    run = Path("runs") / "sfg-stochastic" / "seed3-fold0"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert utkface(noise_faces, whole, *arguments).returncode == 0
    process = subprocess.Popen(command(noise_faces, cut, *arguments), cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (cut / run / "checkpoints" / "last.pt").is_file():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / run / "result.json").exists(), "killed in time"
    assert utkface(noise_faces, cut, *arguments).returncode == 0
    assert (whole / run / "cases.csv").read_bytes() == (cut / run / "cases.csv").read_bytes()
    assert (whole / run / "history.csv").read_text() == (cut / run / "history.csv").read_text()
    weights = [torch.load(out / run / "models" / "model.pt", weights_only=True) for out in (whole, cut)]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--strategies", "sgf"], "did you mean sfg"),
        (["--channels", "4,x"], "--channels"),
        (["image_size=64"], "image_size"),
        (["learning_rat=1"], "did you mean learning_rate"),
        (["--num-parts", 2, "--part-id", 2], "--part-id"),
        (["--data", "absent.tar"], "absent.tar"),
    ],
)
def test_mistakes_are_one_line_and_start_nothing(
    noise_faces: Path, tmp_path: Path, arguments: list[object], found: str
) -> None:
    assert found in mistake(noise_faces, tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()
