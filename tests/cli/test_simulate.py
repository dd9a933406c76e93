# SPDX-License-Identifier: Apache-2.0
"""``sfg-med simulate``: what it writes, prints and refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfg_med.cli.main import main
from sfg_med.data.simulation import simulate_case


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


def test_random_scans_are_recorded_and_a_function_of_seed_and_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--seed", "7", "--spacing", "8", "--artefacts", "--field-of-view", "random", "--quiet")
    for folder, cases in (("one", "1"), ("two", "2")):
        assert run(monkeypatch, "--out", str(tmp_path / folder), "--cases", cases, *arguments) == 0
    assert run(monkeypatch, "--out", str(tmp_path / "plain"), "--cases", "1", *arguments[:4], "--quiet") == 0
    assert json.loads((tmp_path / "one" / "simulation.json").read_text())["rescanned"] == "artefacts, small_fields"
    first, again = (nib.load(tmp_path / f / "case000" / "mr.nii.gz") for f in ("one", "two"))
    np.testing.assert_array_equal(first.dataobj, again.dataobj)
    # what is left of the man is voxel on voxel the man of the plain data set with the whole field of view
    whole = simulate_case((7, 0), (8.0, 8.0, 8.0), "whole")
    start = np.linalg.solve(whole.affine, first.affine)[:3, 3]
    np.testing.assert_allclose(start, np.rint(start), atol=1e-6)
    box = tuple(slice(round(s), round(s) + n) for s, n in zip(start, first.shape, strict=True))
    for name in ("ct", "seg", "tissue"):
        part = nib.load(tmp_path / "one" / "case000" / f"{name}.nii.gz")
        np.testing.assert_array_equal(part.dataobj, getattr(whole, name)[box])
    assert not np.array_equal(np.asarray(first.dataobj), whole.mr[box])
    assert first.shape < whole.mr.shape


def test_men_differ_as_much_as_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = {}
    for variation in ("0", "0.25", "1"):
        arguments = ("--out", str(tmp_path / variation), "--cases", "6", "--spacing", "20", "--quiet")
        assert run(monkeypatch, *arguments, "--variation", variation) == 0
        record = json.loads((tmp_path / variation / "simulation.json").read_text())
        assert record["variation"] == float(variation)
        spread[variation] = np.std([c["anatomy"]["prostate_ml"] for c in record["cases"].values()])
    assert spread["0"] == 0
    assert 0 < spread["0.25"] < 0.5 * spread["1"]


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
        (("--cases", "1", "--variation", "2"), "variation"),
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
