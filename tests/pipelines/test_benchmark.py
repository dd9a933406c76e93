# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures, keeps what it has, draws it, and holds prediction to its memory budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import benchmark_folder, benchmark_training
from pipelines.benchmark import SHARES, main
from pipelines.benchmark_settings import ENTRIES, Settings
from pipelines.contestants import compact
from sfg_med.errors import SfgMedError

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--widths", "4,8,8,8,8", "--window", "32,32,16", "--turns", "1", "--threads", "1"]


def _benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.benchmark", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(None, "cpu", "fp32", 0, 1, (4, 8, 8, 8, 8), (32, 32, 16), SHARES, tmp_path)


def test_passes_are_compared_with_hard_sharing(settings: Settings) -> None:
    found = ENTRIES["inference"](settings)
    rows = found["networks"]
    assert rows["hard sharing, fp32"]["ratio"] == 1
    assert ("two PlainConvUNets, fp32" in rows) == ("ratio_to_pair_in_fp32" in rows["hard sharing, fp32"])
    assert rows["hard sharing, fp32"]["arithmetic_over_hard_sharing"] == 1
    for name in ("pelvis_pairs", "paper"):
        assert 0.4 < rows[f"SFG, compact, {name}, fp32"]["arithmetic_over_hard_sharing"] < 1
    assert rows["SFG, drawn, fp32"]["arithmetic_over_hard_sharing"] == pytest.approx(1, rel=1e-2)
    assert all(row["seconds"] > 0 for row in rows.values())
    # BasicUNet transposes where others interpolate
    assert rows["BasicUNet, fp32"]["gflop"] > 0


def test_the_time_of_a_pass_is_split(settings: Settings) -> None:
    for row in ENTRIES["profile"](settings).values():
        assert row["convolution"] > 0
        assert row["norm and activation"] > 0
        parts = sum(seconds for kind, seconds in row.items() if kind != "total")
        assert parts == pytest.approx(row["total"], rel=0.2)


@pytest.mark.slow
def test_programs_are_compared_with_the_network_itself(settings: Settings) -> None:
    found = ENTRIES["programs"](settings)
    assert found["programs"]["eager"]["ratio"] == 1
    assert {"exported", "compiled"} == set(found["programs"]) - {"eager"} | set(found["missing"])
    assert "exported" in found["programs"]


def test_a_folder_run_is_compared_with_its_windows(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(benchmark_folder, "CASES", 2)
    monkeypatch.setattr(benchmark_folder, "SHAPE", (24, 24, 12))
    found = ENTRIES["folder_run"](settings)
    assert found["cases"] == 2
    assert found["windows"] >= 2
    assert found["run_over_windows"] > 0.5


def test_growth_is_fitted(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(benchmark_folder, "SIZES", ((24, 24, 12), (96, 64, 32)))
    monkeypatch.setattr(benchmark_folder, "PASSES", (1, 3))
    monkeypatch.setattr(benchmark_folder, "FOLDERS", (1, 2))
    found = ENTRIES["growth"](settings)
    assert set(found["by_size"]) == {"24x24x12", "96x64x32"}
    assert found["seconds_against_passes"]["slope"] > 0
    assert set(found["by_cases"]) == {"1", "2"}
    assert not list((settings.folder / "in").glob("*_ct*"))


def test_a_table_without_a_layer_is_refused() -> None:
    with pytest.raises(SfgMedError, match=r"encoder\.0\.1"):
        compact((4, 8, 8, 8, 8), {"encoder.0.0": {"ct": 0.3, "ct+seg": 0.4, "seg": 0.3}}, rounded=True)


@pytest.mark.slow
def test_results_are_kept_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "b.json"
    result = _benchmark("--out", file, "--entries", "training_step", *SMALL, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert "<svg" in (tmp_path / "b.svg").read_text()
    assert _benchmark("--out", file, "--entries", "none").returncode == 2
    with pytest.raises(SfgMedError, match="--widths"):
        main(file, entries="inference", widths="4,x")
    results = json.loads(file.read_text())
    steps = results["training_step"]["steps"]
    assert set(steps) == set(benchmark_training.TRAINED)
    assert steps["hard sharing"]["ratio"] == 1
    # each contestant has a process, and so a peak, of its own
    assert all(0.2 < row["peak_gib"] < 4 for row in steps.values())
    results["training_step"]["missing"] = {"measured": "before"}
    file.write_text(json.dumps(results))
    main(file, entries="training_step")
    main(file, list_entries=True)
    said = capsys.readouterr().out
    assert "before" in said
    assert "training_loop: " in said


@pytest.mark.slow
def test_prediction_of_a_large_volume_stays_below_its_memory_budget(tmp_path: Path) -> None:
    result = _benchmark("--out", tmp_path / "b.json", "--entries", "predict_320x320x120", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "b.json").read_text())["predict_320x320x120"]
    assert measured["done"] == 1
    # torch and MONAI alone take about 0.4 GiB; the budget is 4 GiB
    assert 0.3 < measured["peak_rss_gib"] < 2.5


@pytest.mark.slow
def test_two_processes_write_the_same_files(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(benchmark_folder, "SHAPE", (48, 48, 24))
    monkeypatch.setattr(benchmark_folder, "PAIR_CASES", 4)
    found = ENTRIES["two_processes"](settings)
    assert found["exit_codes"] == [0, 0]
    assert found["identical_files"] == found["files"] == 8


@pytest.mark.slow
def test_the_training_loop_is_compared_with_its_step(settings: Settings, monkeypatch) -> None:
    monkeypatch.setattr(benchmark_training, "STEPS", 6)
    found = ENTRIES["training_loop"](settings)
    assert found["loop_over_bare"] > 0.5
    assert found["steps"] == 4
