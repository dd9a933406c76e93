# SPDX-License-Identifier: Apache-2.0
"""The true command, end to end on a tiny simulated dataset: runs, kill and resume, damage, parts, page."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.compare import choose, conditions, main
from sfg_med.errors import SfgMedError
from sfg_med.training.runner import config_dir

ROOT = Path(__file__).resolve().parents[2]
STEPS = 24


def command(dataset: Path, out: Path, tiny: dict[str, Any], *words: object, **changes: Any) -> list[str]:
    """``python -m pipelines.compare`` with the tiny settings."""
    values = {**tiny, **changes}
    del values["steps"], values["device"]
    overrides = [f"{key}={value}" for key, value in values.items()]
    fixed = ["-m", "pipelines.compare", "--dataset-dir", dataset, "--out", out, "--threads", 1, "--samples", 2]
    return [sys.executable, *map(str, (*fixed, *words, *overrides))]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT)


def rows(out: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Rows of ``results.csv`` by strategy, seed and fold: what has a value, without the time, which no runs share."""
    table = csv.DictReader((out / "results.csv").read_text().splitlines())
    kept = [{name: value for name, value in row.items() if value and name != "seconds"} for row in table]
    return {(row.pop("strategy"), row.pop("seed"), row.pop("fold")): row for row in kept}


def folder(out: Path, strategy: str, seed: int = 0) -> Path:
    return out / "runs" / strategy / f"seed{seed}-fold0"


@pytest.fixture(scope="module")
def finished(tiny_dataset: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of three strategies, one of which needs another's run. Not to be changed."""
    out = tmp_path_factory.mktemp("finished")
    names = "hard-sharing,branched,sfg"
    result = run(command(tiny_dataset, out, tiny, "--strategies", names, "--seeds", 0, "--steps", STEPS))
    assert result.returncode == 0, result.stderr
    return out


@pytest.mark.slow
def test_every_strategy_is_trained_scored_and_counted(finished: Path, tiny_dataset: Path) -> None:
    found = rows(finished)
    assert set(found) == {(s, "0", "0") for s in ("hard-sharing", "branched", "sfg", "single-task-full")}
    test_cases = json.loads((folder(finished, "sfg") / "splits.json").read_text())["test"]
    assert len(test_cases) == 1
    for (strategy, _, _), row in found.items():
        result = json.loads((folder(finished, strategy) / "result.json").read_text())
        cases = list(csv.DictReader((folder(finished, strategy) / "cases.csv").read_text().splitlines()))
        assert [case["case"] for case in cases] == test_cases
        assert float(row["mae_hu"]) == pytest.approx(float(cases[0]["mae_hu"]))
        assert result["metrics"]["mae_hu"] == pytest.approx(float(cases[0]["mae_hu"]))
        dice = [float(value) for name, value in cases[0].items() if name.startswith("dice_") and name != "dice_mean"]
        assert float(cases[0]["dice_mean"]) == pytest.approx(sum(dice) / len(dice))
        assert result["steps"] == STEPS
        assert result["seconds"] > 0
        assert 20 < result["trivial"]["mae_hu"] < 1000
        assert float(row["parameters"]) > 100
        assert float(row["gflops"]) > 0
        assert not (folder(finished, strategy) / "predictions").exists()
    assert float(found["single-task-full", "0", "0"]["parameters"]) > float(
        found["hard-sharing", "0", "0"]["parameters"]
    )
    page = (finished / "index.html").read_text()
    assert "What should synthetic CT and organ segmentation share?" in page
    assert "The data are simulated." in page
    assert json.loads((finished / "conditions.json").read_text())["steps"] == STEPS


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_numbers(
    finished: Path, tiny_dataset: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    names = "hard-sharing,sfg"
    words = command(tiny_dataset, tmp_path, tiny, "--strategies", names, "--seeds", 0, "--steps", STEPS)
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = folder(tmp_path, "sfg") / "seconds.json"
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = json.loads(checkpoint.read_text())
    assert before["step"] < STEPS, "it was killed too late to show anything"
    assert not (folder(tmp_path, "sfg") / "result.json").exists()
    first = (folder(tmp_path, "hard-sharing") / "result.json").stat().st_mtime_ns
    result = run(words)
    assert result.returncode == 0, result.stderr
    assert "hard-sharing seed 0 fold 0: finished before" in result.stdout
    assert (folder(tmp_path, "hard-sharing") / "result.json").stat().st_mtime_ns == first
    after = json.loads(checkpoint.read_text())
    assert after["step"] == STEPS
    assert after["seconds"] > before["seconds"]
    unbroken = rows(finished)
    assert rows(tmp_path) == {key: unbroken[key] for key in rows(tmp_path)}
    assert len(rows(tmp_path)) == 2


@pytest.mark.slow
def test_damage_costs_one_run_only(finished: Path, tiny_dataset: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    (folder(out, "hard-sharing") / "result.json").write_text("{")
    (folder(out, "sfg") / "result.json").unlink()
    (folder(out, "sfg") / "checkpoints" / "last.pt").write_bytes(b"PK\x03\x04 nonsense")
    names = "sfg,hard-sharing,branched"
    result = run(command(tiny_dataset, out, tiny, "--strategies", names, "--seeds", 0, "--steps", STEPS))
    assert result.returncode == 1
    failures = [line for line in result.stderr.splitlines() if "failed" in line]
    assert len(failures) == 1
    assert "sfg seed 0 fold 0: failed:" in failures[0]
    assert "last.pt" in failures[0]
    unbroken = rows(finished)
    del unbroken["sfg", "0", "0"]
    assert rows(out) == unbroken
    assert "sfg, seed 0, fold 0: failed:" in (out / "index.html").read_text()


@pytest.mark.slow
def test_folds_and_parts(tiny_dataset: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    words = ["--strategies", "hard-sharing", "--seeds", "0,1", "--folds", 3, "--fold-ids", "0,2", "--steps", 2]
    for part in (1, 0):
        result = run(command(tiny_dataset, tmp_path, tiny, *words, "--num-parts", 2, "--part-id", part))
        assert result.returncode == 0, result.stderr
        assert len([line for line in result.stdout.splitlines() if "done in" in line]) == 2
    assert set(rows(tmp_path)) == {("hard-sharing", seed, fold) for seed in "01" for fold in "02"}
    cases = {
        (seed, fold): sorted(json.loads((path / "splits.json").read_text())["test"])
        for seed in (0, 1)
        for fold in (0, 2)
        if (path := tmp_path / "runs" / "hard-sharing" / f"seed{seed}-fold{fold}").is_dir()
    }
    assert cases[0, 0] == cases[1, 0], "the parts do not depend on the seed"
    assert not set(cases[0, 0]) & set(cases[0, 2])


@pytest.mark.slow
def test_other_conditions_do_not_mix_and_the_page_comes_back(
    finished: Path, tiny_dataset: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    result = run(command(tiny_dataset, out, tiny, "--strategies", "sfg", "--seeds", 0, "--steps", 20))
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert f"steps=20, found runs made with steps={STEPS}" in result.stderr
    (out / "index.html").unlink()
    table = (out / "results.csv").read_text()
    (out / "results.csv").unlink()
    collect = [sys.executable, "-m", "pipelines.compare", "--out", str(out), "--collect-only", "--seeds", "0"]
    result = run([*collect, "--strategies", "hard-sharing,branched,sfg,mtan", "--note", "Said <here>."])
    assert result.returncode == 0, result.stderr
    assert sorted((out / "results.csv").read_text().splitlines()) == sorted(table.splitlines())
    page = (out / "index.html").read_text()
    assert "mtan, seed 0, fold 0: not started" in page
    assert "Said &lt;here&gt;." in page


def test_list_names_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(list_strategies=True)
    names = capsys.readouterr().out.split("\n")
    wanted = {"sfg", "sfg-lattice", "single-task", "hard-sharing", "constant-mask", "constant-p", "cross-stitch"}
    assert wanted | {"branched", "selective-sharing", "random-masks", "mtan"} <= set(names)
    assert not any(" " in name for name in names)


def test_unknown_strategies_are_refused_with_the_nearest() -> None:
    assert choose([" a ", "b", "a", ""], ["b", "a"]) == ["a", "b"]
    with pytest.raises(SfgMedError, match="did you mean hard-sharing"):
        choose(["hard_sharing"], ["sfg", "hard-sharing"])
    with pytest.raises(SfgMedError, match="at least one name"):
        choose([""], ["sfg"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"seeds": "0,x"}, "'x'"),
        ({"seeds": ""}, "--seeds"),
        ({"folds": 2, "fold_ids": "2"}, "--fold-ids"),
        ({"fold_ids": "1"}, "--fold-ids"),
        ({"strategies": "sgf"}, "did you mean sfg"),
        ({"num_parts": 2, "part_id": 2}, "--part-id"),
        ({"dataset_dir": None}, "--dataset-dir"),
        ({"dataset_dir": Path("nowhere")}, "nowhere"),
        ({"out": None}, "--out"),
        ({"overrides": ["stepz=3"]}, "did you mean steps"),
        ({"overrides": ["seed=3"]}, "a key that all runs share"),
        ({"overrides": ["steps"]}, "KEY=VALUE"),
        ({"config": [Path("nowhere.yaml")]}, "nowhere.yaml"),
        ({"collect_only": True}, "runs"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(
    tiny_dataset: Path, tmp_path: Path, options: dict[str, Any], expected: str
) -> None:
    defaults = {"out": tmp_path / "out", "dataset_dir": tiny_dataset, "strategies": "sfg", "seeds": "0"}
    with pytest.raises(SfgMedError) as caught:
        main(**{**defaults, **options})
    assert expected in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_conditions_are_plain_and_follow_overrides() -> None:
    files = [config_dir() / "train.yaml", config_dir() / "compare.yaml"]
    found = conditions(files, {"dataset_dir": "/d", "network::channels": [4, 8], "steps": 7})
    assert found["steps"] == 7
    assert found["network"]["channels"] == [4, 8]
    assert found["dataset_dir"] == "/d"
    assert "learning_rate" in found
    assert not {"seed", "fold", "run_dir", "strategy", "spec", "loss"} & set(found)
    json.dumps(found)
