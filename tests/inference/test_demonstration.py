# SPDX-License-Identifier: Apache-2.0
"""The shipped model does on simulated patients that it never saw what its card says."""

import csv
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.data.simulation import simulate_dataset
from sfg_med.model_file import load_model
from sfg_med.model_path import demonstration_model

CARD = demonstration_model().parent / "README.md"


def test_the_card_names_the_shipped_file() -> None:
    model = load_model(demonstration_model())
    assert model.sha256 in CARD.read_text()
    assert demonstration_model().stat().st_size < 8 * 2**20
    assert model.metadata["provenance"]["dataset"] == ["simulated"]


@pytest.mark.slow
def test_predict_without_a_model_warns_and_finds_the_organs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SFG_MED_MODEL", raising=False)
    simulate_dataset(tmp_path / "new", cases=2, seed=99, spacing_mm=(3.0, 3.0, 3.0))
    result = CliRunner().invoke(app, ["predict", "-i", str(tmp_path / "new"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "no clinical model" in result.stderr
    words = ["evaluate", "-p", str(tmp_path / "out"), "-r", str(tmp_path / "new"), "-o", str(tmp_path / "scores")]
    assert CliRunner().invoke(app, words).exit_code == 0
    with (tmp_path / "scores" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    dice = float(re.search(r"mean Dice \| ([0-9.]+)", CARD.read_text())[1])  # type: ignore[index]
    mae = float(re.search(r"MAE \(HU\) \| ([0-9.]+)", CARD.read_text())[1])  # type: ignore[index]
    for row in rows:
        organs = [float(v) for k, v in row.items() if k.startswith("dice_")]
        assert sum(organs) / len(organs) > dice - 0.15
        assert float(row["mae_hu"]) < 1.5 * mae
