# SPDX-License-Identifier: Apache-2.0
"""``python -m pipelines.registration_error`` on one coarse simulated pair; its accuracy is tests/preparation's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.registration_error import main


@pytest.mark.slow
def test_what_is_left_of_a_motion_is_written(tmp_path: Path, tiny_dataset: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    out = tmp_path / "error.json"
    options = ["--engines", "simpleitk", "--cases", "1", "--trim-mm", "10"]
    done = CliRunner().invoke(app, ["--dataset-dir", str(tiny_dataset), "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    rows = {row["kind"]: row for row in found["rows"]}
    assert list(rows) == ["none", "rigid", "deformable"]
    assert rows["rigid"]["mean_mm"] < rows["none"]["mean_mm"]
    assert all(row["engine"] == "simpleitk" and row["seconds"] > 0 for row in rows.values())
    assert rows["deformable"]["jacobian_min"] > 0
    assert found["engines"][0].startswith("simpleitk")
    assert f"rigid {rows['rigid']['mean_mm']:.2f} mm" in done.output
