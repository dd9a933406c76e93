# SPDX-License-Identifier: Apache-2.0
"""``sfg-med report`` tells a run from a prediction folder."""

import json

import pytest
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.errors import SfgMedError
from sfg_med.spec import ModelSpec

HISTORY = "step,split,name,value\n20,train,loss,1.5\n20,validation,mae_hu,55\n"


def _report(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)


def _manifest(folder):
    content = {
        "updated": "2026-11-22T01:40:12+00:00",
        "versions": {"sfg_med": "0.1.0"},
        "device": {"name": "cpu", "description": "", "precision": "fp32"},
        "options": {"input": "in", "samples": 1},
        "seed": 0,
        "model": {"path": "model.safetensors", "sha256": "ab" * 32, "spec": ModelSpec().to_dict()},
        "summary": {"cases": 0, "done": 0, "failed": 0, "skipped": 0},
        "cases": [],
    }
    (folder / "manifest.json").write_text(json.dumps(content))


def test_run(tmp_path):
    (tmp_path / "history.csv").write_text(HISTORY)
    result = _report(tmp_path)
    assert (result.exit_code, result.stdout.split()) == (0, [str(tmp_path / "report.html")])
    assert "55.0" in (tmp_path / "report.html").read_text()


def test_predictions(tmp_path):
    _manifest(tmp_path)
    result = _report(tmp_path)
    assert (result.exit_code, result.stdout.split()) == (0, [str(tmp_path / "qc.html")])
    assert "ab" * 32 in (tmp_path / "qc.html").read_text()


def test_neither(tmp_path):
    with pytest.raises(SfgMedError, match="neither"):
        _report(tmp_path)
    with pytest.raises(SfgMedError, match="no such folder"):
        _report(tmp_path / "absent")


def test_metrics_belong_to_predictions(tmp_path):
    (tmp_path / "history.csv").write_text(HISTORY)
    with pytest.raises(SfgMedError, match="leave them out"):
        _report(tmp_path, "--metrics", "metrics.csv")
