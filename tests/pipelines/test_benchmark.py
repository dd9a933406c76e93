# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures, keeps what it has, and holds prediction to its memory budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.benchmark", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_prediction_of_a_large_volume_stays_below_its_memory_budget(tmp_path) -> None:
    out = tmp_path / "results.json"
    assert _benchmark("--out", out, "--entries", "none").returncode == 2
    result = _benchmark("--out", out, "--entries", "predict_320x320x120", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    measured = json.loads(out.read_text())["predict_320x320x120"]
    assert measured["done"] == 1
    # torch and MONAI alone take about 0.4 GiB; the budget is 4 GiB
    assert 0.3 < measured["peak_rss_gib"] < 2.5
    measured["peak_rss_gib"] = 123
    out.write_text(json.dumps({"predict_320x320x120": measured}))
    assert "123" in _benchmark("--out", out, "--entries", "predict_320x320x120").stdout
