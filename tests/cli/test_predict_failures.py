# SPDX-License-Identifier: Apache-2.0
"""``sfg-med predict`` on bad inputs and mistakes: one case fails, in one line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.prediction import _command, _leftovers, _manifest, _predict, _rows, _save, _volumes

CT_SEG = ["ct", "seg"]


def _bad_files(folder: Path, mr: np.ndarray) -> set[str]:
    folder.mkdir(parents=True, exist_ok=True)
    floats = mr.astype(np.float32)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        floats[3, 4, 5] = value
        _save(folder / f"{name}.nii.gz", floats)
    _save(folder / "constant.nii.gz", np.full_like(mr, 3))
    _save(folder / "frames.nii.gz", np.stack([mr, mr], -1))
    _save(folder / "flat.nii.gz", mr[:, :, 0])
    _save(folder / "rgb.nii.gz", np.zeros(mr.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    _save(folder / "complex.nii.gz", mr.astype(np.complex64))
    whole = (_save(folder / "short.nii.gz", mr)).read_bytes()
    (folder / "short.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii.gz").write_text("no image")
    (folder / "words.mha").write_text("no image")
    (folder / "empty.nii").touch()
    (folder / "gone.nii.gz").symlink_to(folder / "nowhere.nii.gz")
    return {p.name for p in folder.iterdir()}


def test_bad_inputs_fail_alone_and_in_one_line(tmp_path, model, mr) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    bad = _bad_files(source / "bad", mr)
    _save(source / "a.nii.gz", mr)
    _save(source / "z.nii.gz", mr)
    _save(source / "twin.nii.gz", mr)
    _save(source / "twin.nii", mr)
    code, _, errors = _predict(source, out, model)
    assert code == 1
    assert _volumes(out) == [f"{n}_{t}.nii.gz" for n in "az" for t in CT_SEG]
    assert _leftovers(out) == []
    lines = [line for line in errors.splitlines() if line.startswith("failed: ")]
    assert len(lines) == len(bad) + 1  # one for the twins
    for name in bad:
        assert sum(name in line for line in lines) == 1, name
    assert sum("twin.nii.gz" in line and "twin.nii " in line for line in lines) == 1
    records = {r["case"]: r for r in _manifest(out)["cases"]}
    assert _manifest(out)["summary"]["failed"] == len(lines)
    assert all((r["status"] == "failed") == bool(r["error"]) for r in records.values())
    assert all("\n" not in r["error"] for r in records.values())
    assert {r["status"] for c, r in _rows(out).items() if c in "az"} == {"done"}
    # a failed case is tried again, and the file repaired
    (source / "bad" / "constant.nii.gz").unlink()
    _save(source / "bad" / "constant.nii.gz", mr)
    _predict(source, out, model)
    assert _rows(out)["bad/constant"]["status"] == "done"


def test_out_of_memory_and_broken_code_fail_one_case(tmp_path, model, mr, monkeypatch) -> None:
    from sfg_med.inference.predictor import Predictor

    source, out = tmp_path / "in", tmp_path / "out"
    for name in "abc":
        _save(source / f"{name}.nii.gz", mr)
    honest = Predictor.run

    def run(self, prepared, *, case=""):
        if case == "a":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nmore")
        if case == "b":
            raise ZeroDivisionError("two\nlines")
        return honest(self, prepared, case=case)

    monkeypatch.setattr(Predictor, "run", run)
    code, _, errors = _predict(source, out, model)
    assert code == 1
    failed = [line for line in errors.splitlines() if line.startswith("failed")]
    assert len(failed) == 2
    assert "memory" in failed[0]
    assert "ZeroDivisionError: two lines" in failed[1]
    assert _volumes(out) == ["c_ct.nii.gz", "c_seg.nii.gz"]


@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path, model, environment) -> None:
    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = _command("predict", "-o", tmp_path / "out", *arguments)
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    missing = tmp_path / "missing"
    for result in (call("-i", missing, "-m", model), call("-i", tmp_path, "-m", missing)):
        assert result.returncode == 2, result.stderr
        assert result.stderr.startswith(f"error: {missing}")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""
