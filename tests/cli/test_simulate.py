# SPDX-License-Identifier: Apache-2.0
"""``sfg-med simulate``: what it writes, prints and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sfg_med.cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the entry point as a user does; return the exit code."""
    monkeypatch.setattr(sys, "argv", ["sfg-med", "simulate", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_writes_a_data_set_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--out", str(tmp_path), "--cases", "3", "--seed", "4", "--spacing", "10,10,12")
    assert run(monkeypatch, *arguments) == 0
    assert "3 simulated, 0 were there already" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*.nii.gz"))) == 15
    assert run(monkeypatch, *arguments) == 0
    assert "0 simulated, 3 were there already" in capsys.readouterr().out


def test_whole_field_of_view_is_recorded_and_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--out", str(tmp_path), "--cases", "1", "--spacing", "10")
    assert run(monkeypatch, *arguments, "--field-of-view", "whole") == 0
    assert json.loads((tmp_path / "simulation.json").read_text())["field_of_view"] == "whole"
    capsys.readouterr()
    assert run(monkeypatch, *arguments) == 2
    assert "field_of_view" in capsys.readouterr().err


def test_quiet_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--out", str(tmp_path), "--cases", "1", "--spacing", "12", "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--cases", "0"), "cases"),
        (("--cases", "1", "--spacing", "-3"), "spacing"),
        (("--cases", "1", "--spacing", "3,3"), "spacing"),
        (("--cases", "1", "--spacing", "three"), "spacing"),
        (("--cases", "1", "--seed", "-1"), "seed"),
        (("--cases", "1", "--jobs", "0"), "jobs"),
        (("--cases", "1", "--field-of-view", "half"), "field of view"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    word: str,
) -> None:
    assert run(monkeypatch, "--out", str(tmp_path / "out"), *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert word in lines[0]
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(monkeypatch, "--out", str(tmp_path / "file"), "--cases", "1") == 2
    assert "--out" in capsys.readouterr().err
