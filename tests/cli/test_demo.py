# SPDX-License-Identifier: Apache-2.0
"""``sfg-med demo``: the main job with one command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def sfg_med(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sfg_med.cli.main", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.mark.slow
def test_demo_runs_the_main_job_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = sfg_med("demo", "--out", tmp_path, "--cases", 4, "--steps", 4)
    assert first.returncode == 0, first.stderr[-3000:]
    names = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    run, predictions = tmp_path / "run", tmp_path / "predictions"
    assert names >= {
        *(f"dataset/case00{i}/{role}.nii.gz" for i in range(4) for role in ("mr", "ct", "seg", "mask")),
        *(f"predictions/case00{i}/mr_{task}.nii.gz" for i in range(4) for task in ("ct", "seg")),
        *("run/models/model.safetensors", "run/history.csv", "run/report.html"),
        *("run/evaluation/metrics.csv", "run/evaluation/summary.json"),
        *("predictions/manifest.json", "predictions/cases.csv", "predictions/qc.html"),
    }
    assert [w.split()[2] for w in first.stdout.splitlines() if w.startswith("$ ")] == [
        *("simulate", "train", "predict", "evaluate", "report", "report")
    ]
    model = run / "models" / "model.safetensors"
    made = model.stat().st_mtime_ns, (predictions / "case000" / "mr_ct.nii.gz").stat().st_mtime_ns

    second = sfg_med("demo", "--out", tmp_path, "--cases", 4, "--steps", 4)
    assert second.returncode == 0, second.stderr[-3000:]
    assert "$ sfg-med train" not in second.stdout
    assert made == (model.stat().st_mtime_ns, (predictions / "case000" / "mr_ct.nii.gz").stat().st_mtime_ns)

    page = run / "report.html"
    page.unlink()
    assert sfg_med("report", run).returncode == 0
    assert "<svg" in page.read_text() or "<img" in page.read_text()


def test_a_failing_step_ends_the_demonstration(tmp_path: Path) -> None:
    (tmp_path / "dataset").write_text("a file where a folder should be")
    done = sfg_med("demo", "--out", tmp_path, "--cases", 4, "--steps", 50)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "dataset" in done.stderr
    assert "$ sfg-med train" not in done.stdout
