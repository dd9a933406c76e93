# SPDX-License-Identifier: Apache-2.0
"""``sfg-med predict`` again on the same folder: resuming, sharing the work, being stopped."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sfg_med.errors import SfgMedError
from sfg_med.model_file import save_model
from sfg_med.networks import build_network
from sfg_med.spec import LabelTask
from tests.cli.prediction import AFFINE, SPEC, _command, _leftovers, _manifest, _predict, _rows, _save, _volumes
from tests.data.dicom.series_files import write_series


def test_folder_resume_and_overwrite(tmp_path, model, mr) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a/b/x.nii.gz", "a/y.nii", "p1/mr.nii.gz", "p1/ct.nii.gz"):
        _save(source / name, mr)
    expected = [
        "a/b/x_ct.nii.gz",
        "a/b/x_seg.nii.gz",
        "a/y_ct.nii.gz",
        "a/y_seg.nii.gz",
        "p1/mr_ct.nii.gz",
        "p1/mr_seg.nii.gz",
    ]
    assert _predict(source, out, model)[0] == 0
    assert _volumes(out) == expected
    assert sorted(_rows(out)) == ["a/b/x", "a/y", "p1"]
    before = {name: (out / name).stat().st_mtime_ns for name in expected}
    rows = _rows(out)

    (out / "a/y_seg.nii.gz").unlink()  # as if the process had died between the two files
    code, text, _ = _predict(source, out, model, "--json")
    facts = json.loads(text)
    assert (code, facts["done"], facts["skipped"], facts["failed"]) == (0, 1, 2, 0)
    after = {name: (out / name).stat().st_mtime_ns for name in expected}
    assert {n for n in expected if after[n] != before[n]} == {"a/y_ct.nii.gz", "a/y_seg.nii.gz"}
    assert _manifest(out)["summary"] == {"cases": 3, "done": 3, "failed": 0, "skipped": 2}
    assert {k: r["volume_ml_bladder"] for k, r in _rows(out).items()} == {
        k: r["volume_ml_bladder"] for k, r in rows.items()
    }

    (out / "manifest.json").unlink()  # lost: the numbers come from the files
    assert _predict(source, out, model, "--quiet")[:2] == (0, "")
    for case, row in _rows(out).items():
        assert {k: v for k, v in row.items() if k != "seconds"} == {
            k: v for k, v in rows[case].items() if k != "seconds"
        }

    assert _predict(source, out, model, "--overwrite")[0] == 0
    assert all((out / n).stat().st_mtime_ns != after[n] for n in expected)
    assert _leftovers(out) == []


def test_another_model_is_not_mixed_in(tmp_path, model, mr) -> None:
    path, out = _save(tmp_path / "x.nii.gz", mr), tmp_path / "out"
    assert _predict(path, out, model)[0] == 0
    other = tmp_path / "other.safetensors"
    save_model(other, build_network(SPEC, where="test").eval(), SPEC, provenance={})
    with pytest.raises(SfgMedError, match="another model"):
        _predict(path, out, other)
    assert _predict(path, out, other, "--overwrite")[0] == 0
    assert _manifest(out)["cases"][0]["model_sha256"] == _manifest(out)["model"]["sha256"]


def _limits(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_flags_of_finished_cases_are_those_of_the_limits_in_the_manifest(tmp_path, model, mr) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for name in "ab":
        _save(source / f"{name}.nii.gz", mr)
    none = _limits(tmp_path / "none.yaml", "volume_ml: {}")
    assert [_predict(source, out, model, "--limits", none, "--num-parts", 2, "--part-id", i)[0] for i in (0, 1)] == [
        0,
        0,
    ]
    before = {row["case"]: row["flags"] for row in _manifest(out)["cases"]}
    assert "volume:" not in str(before)
    organ = next(k for k, v in _manifest(out)["cases"][0]["measures"].items() if k.startswith("volume_ml_") and v)
    organ = organ.removeprefix("volume_ml_")
    entry = "{range: [9999, null], source: a test}"
    tight = _limits(tmp_path / "tight.yaml", f"volume_ml: {{{organ}: {entry}}}\ninput: {{negative_percent: {entry}}}")
    code, text, _ = _predict(source / "a.nii.gz", out, model, "--limits", tight, "--json")  # one of the two cases
    assert (code, json.loads(text)["skipped"]) == (0, 1)
    a, b = _manifest(out)["cases"]
    assert a["flags"] == [
        *before["a"],
        f"volume:{organ}",
        "unlike_training:negative_percent",
    ]  # the last: measured anew
    assert b["flags"] == [*before["b"], f"volume:{organ}"]
    assert _rows(out)["b"]["flags"].split(";") == b["flags"]
    assert _predict(source, out, model, "--limits", none)[0] == 0
    assert {row["case"]: row["flags"] for row in _manifest(out)["cases"]} == before


def test_overwriting_leaves_nothing_of_the_former_run(tmp_path, mr) -> None:
    stochastic = replace(SPEC, network={**SPEC.network, "group_init": "uniform"})
    path, other = tmp_path / "model.safetensors", tmp_path / "other.safetensors"
    save_model(path, build_network(stochastic, where="test").eval(), stochastic, provenance={})
    few = replace(SPEC, tasks=(LabelTask(name="zones"),))
    save_model(other, build_network(few, where="test").eval(), few, provenance={})
    out = tmp_path / "out"
    source = write_series(tmp_path / "in" / "x", mr.astype(np.uint16), AFFINE)
    options = ["--samples", 2, "--entropy-parts", "--dicom"]
    assert _predict(source, out, path, *options)[0] == 0
    assert len(_volumes(out)) == 6
    assert (out / "x_dicom" / "ct" / "0001.dcm").is_file()
    kept = [out / "x_ct_std_of_mine.nii.gz", out / "y_seg_entropy.nii.gz", out / "x_seg_dicom" / "1.dcm"]
    for file in kept:
        file.parent.mkdir(exist_ok=True)
        file.write_text("of somebody else")
    assert _predict(source, out, path, "--overwrite")[0] == 0
    names = ["x_ct.nii.gz", "x_seg.nii.gz"]
    assert _volumes(out) == sorted([*names, *(file.name for file in kept[:2])])
    assert not (out / "x_dicom").exists()
    assert all(file.is_file() for file in kept)
    (out / "x_dicom").mkdir()
    shutil.copy(next(source.iterdir()), out / "x_dicom" / "1.dcm")  # a series of the user's with our folder's name
    assert _predict(source, out, other, "--overwrite")[0] == 0  # another model: its tasks are others
    assert [name for name in _volumes(out) if out / name not in kept] == ["x_zones.nii.gz"]
    assert (out / "x_dicom" / "1.dcm").is_file()


def test_parts_share_the_cases_and_the_last_one_merges(tmp_path, model, mr) -> None:
    source, out, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole"
    for name in "abcde":
        _save(source / f"{name}.nii.gz", mr + ord(name))
    (source / "bad.nii.gz").write_text("no image")
    codes = []
    for i in (2, 0, 1):
        assert not (out / "qc.html").exists()
        codes.append(_predict(source, out, model, "--num-parts", 3, "--part-id", i)[0])
    assert sorted(codes) == [0, 0, 1]
    assert (out / "qc.html").is_file()
    assert _predict(source, whole, model)[0] == 1
    assert _volumes(out) == _volumes(whole)
    assert _manifest(out)["summary"] == _manifest(whole)["summary"]
    assert sorted(p.name for p in out.glob("manifest.part*")) == [f"manifest.part-{i}-of-3.json" for i in range(3)]
    for case, row in _rows(whole).items():
        assert {**row, "seconds": "", "error": ""} == {**_rows(out)[case], "seconds": "", "error": ""}
    assert _predict(source, out, model)[0] == 1  # a later call without parts keeps everything
    assert _manifest(out)["summary"] == {"cases": 6, "done": 5, "failed": 1, "skipped": 5}


@pytest.mark.parametrize("moment", ["predict", "write"])
def test_interrupted_run_keeps_what_is_done(tmp_path, model, mr, monkeypatch, moment) -> None:
    from sfg_med.inference import case as case_module

    source, out = tmp_path / "in", tmp_path / "out"
    for name in "abc":
        _save(source / f"{name}.nii.gz", mr)
    honest_write, honest_read = case_module.write_volume, case_module.read_volume

    def write(path, *rest):
        if moment == "write" and path.name == "b_seg.nii.gz":
            raise KeyboardInterrupt
        honest_write(path, *rest)

    def read(path, **more):
        if moment == "predict" and path.name == "b.nii.gz":
            raise KeyboardInterrupt
        return honest_read(path, **more)

    monkeypatch.setattr(case_module, "write_volume", write)
    monkeypatch.setattr(case_module, "read_volume", read)
    code, _, errors = _predict(source, out, model)
    assert code == 130
    assert "interrupted" in errors
    assert [c["case"] for c in _manifest(out)["cases"]] == ["a"]
    assert _leftovers(out) == []
    monkeypatch.undo()
    code, text, _ = _predict(source, out, model, "--json")
    assert (code, json.loads(text)["skipped"], json.loads(text)["done"]) == (0, 1, 2)
    assert len(_volumes(out)) == 6


def _done(out: Path) -> int:
    """How many cases the manifest calls done."""
    return _manifest(out)["summary"]["done"] if (out / "manifest.json").exists() else 0


def _stop_after(command: list[str], environment: dict[str, str], out: Path, cases: int, stop: int) -> tuple[int, str]:
    """Send a signal when so many cases are recorded as done; exit code and stderr."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stderr=pipe, stdout=pipe, text=True)
    deadline = time.monotonic() + 60
    while _done(out) < cases and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.slow
def test_stopped_from_outside(tmp_path, model, mr, environment) -> None:
    """SIGTERM as a cluster sends it, then a crash, then a call that ends the work."""
    source, out = tmp_path / "in", tmp_path / "out"
    for i in range(50):
        _save(source / f"x{i}.nii.gz", mr)
    command = _command("predict", "-i", source, "-o", out, "-m", model, "--device", "cpu")
    code, errors = _stop_after(command, environment, out, 1, signal.SIGTERM)
    assert code == 130, errors
    assert "Traceback" not in errors
    first = _done(out)
    assert 0 < first < 50
    assert _leftovers(out) == []

    _stop_after(command, environment, out, first + 5, signal.SIGKILL)
    assert first < _done(out) < 50  # the manifest is whole
    for path in out.glob("*.nii.gz"):
        assert not path.name.startswith(".")
        gzip.decompress(path.read_bytes())  # raises if it is not complete
    code, text, _ = _predict(source, out, model, "--json")
    assert code == 0
    assert json.loads(text)["skipped"] >= first + 4
    assert len(_volumes(out)) == 100
    assert {r["status"] for r in _rows(out).values()} == {"done"}
    assert [p for p in _leftovers(out) if p.name.endswith(".nii.gz")] == []
