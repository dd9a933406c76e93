# SPDX-License-Identifier: Apache-2.0
"""``sfg-med predict`` from the outside: files, exit codes, manifests, resuming, sharing the work."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.errors import SfgMedError
from sfg_med.model_file import save_model
from sfg_med.networks import build_network
from sfg_med.spec import ModelSpec

AFFINE = np.array([[-2.0, 0, 0, 30], [0, -2.0, 0, 20], [0, 0, 3.0, -10], [0, 0, 0, 1]])
SPEC = ModelSpec(spacing_mm=(4.0, 4.0, 4.0), patch_size=(16, 16, 16), network={"name": "SFGUNet", "channels": [8, 8]})
CT_SEG = ["ct", "seg"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model with random weights."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(SPEC, where="test").eval(), SPEC, provenance={"made by": "a test"})
    return path


@pytest.fixture
def mr() -> np.ndarray:
    return np.random.default_rng(0).integers(50, 900, (22, 21, 12)).astype(np.int16)


def _save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def _run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def _predict(source: Path, out: Path, model: Path, *more: object) -> tuple[int, str, str]:
    return _run("-i", source, "-o", out, "-m", model, "--device", "cpu", *more)


def _manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def _rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "cases.csv").open() as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def _volumes(out: Path) -> list[str]:
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*.nii.gz"))


def _leftovers(out: Path) -> list[Path]:
    return [p for p in out.rglob("*") if p.name.startswith(".") or "partial" in p.name]


def test_one_file(tmp_path, model, mr) -> None:
    path = _save(tmp_path / "in" / "x.nii.gz", mr)
    out = tmp_path / "out"
    code, text, _ = _predict(path, out, model)
    assert code == 0
    assert "done" in text
    assert _volumes(out) == ["x_ct.nii.gz", "x_seg.nii.gz"]
    ct, seg = nib.load(out / "x_ct.nii.gz"), nib.load(out / "x_seg.nii.gz")
    assert (ct.get_data_dtype(), seg.get_data_dtype()) == (np.int16, np.uint8)
    for image in (ct, seg):
        np.testing.assert_array_equal(image.affine, nib.load(path).affine)
        assert image.shape == mr.shape
    labels = np.asarray(seg.dataobj)
    values = np.asarray(ct.dataobj)
    assert -1024 <= values.min() < values.max() <= 3000
    manifest = _manifest(out)
    assert manifest["summary"] == {"cases": 1, "done": 1, "failed": 0, "skipped": 0}
    assert len(manifest["model"]["sha256"]) == 64
    assert manifest["options"]["device"] == "cpu"
    assert manifest["options"]["input"] == str(path)
    assert torch.__version__.startswith(manifest["versions"]["torch"].split("+")[0])
    (case,) = manifest["cases"]
    assert case["files"] == {"ct": "x_ct.nii.gz", "seg": "x_seg.nii.gz"}
    row = _rows(out)["x"]
    for name, value in SPEC.label_tasks[0].labels.items():
        inside = labels == value
        assert float(row[f"volume_ml_{name}"]) == pytest.approx(inside.sum() * 12 / 1000, abs=1e-3)
        if inside.any():
            assert float(row[f"mean_hu_{name}"]) == pytest.approx(values[inside].mean(), abs=1e-2)
        else:
            assert row[f"mean_hu_{name}"] == ""
            assert f"empty:{name}" in row["flags"].split(";")


def test_samples_add_uncertainty_maps_and_repeat(tmp_path, model, mr) -> None:
    path = _save(tmp_path / "x.nii.gz", mr)
    names = ["x_ct.nii.gz", "x_ct_std.nii.gz", "x_seg.nii.gz", "x_seg_entropy.nii.gz"]
    for out in ("a", "b", "c"):
        assert _predict(path, tmp_path / out, model, "--samples", 3, "--seed", int(out == "c"))[0] == 0
        assert _volumes(tmp_path / out) == names
    first, again, other = ((tmp_path / o / "x_ct_std.nii.gz").read_bytes() for o in "abc")
    assert first == again != other
    std, entropy = (nib.load(tmp_path / "a" / f"x_{n}.nii.gz") for n in ("ct_std", "seg_entropy"))
    assert std.get_data_dtype() == entropy.get_data_dtype() == np.float32
    assert std.get_fdata().min() >= 0 < std.get_fdata().max()
    assert 0 <= entropy.get_fdata().min() < entropy.get_fdata().max() <= np.log(6) + 1e-5


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


def test_csv_list(tmp_path, model, mr) -> None:
    _save(tmp_path / "one" / "mr.nii.gz", mr)
    _save(tmp_path / "two" / "mr.nii.gz", mr)
    (tmp_path / "list.csv").write_text("case,image\nP1,one/mr.nii.gz\nwing/P2,two/mr.nii.gz\nP3,three/mr.nii.gz\n")
    code, _, errors = _predict(tmp_path / "list.csv", tmp_path / "out", model)
    assert code == 1
    assert "three" in errors
    assert _volumes(tmp_path / "out") == [
        "P1_ct.nii.gz",
        "P1_seg.nii.gz",
        "wing/P2_ct.nii.gz",
        "wing/P2_seg.nii.gz",
    ]


def test_parts_share_the_cases_and_the_last_one_merges(tmp_path, model, mr) -> None:
    source, out, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole"
    for name in "abcde":
        _save(source / f"{name}.nii.gz", mr + ord(name))
    (source / "bad.nii.gz").write_text("no image")
    codes = [_predict(source, out, model, "--num-parts", 3, "--part-id", i)[0] for i in (2, 0, 1)]
    assert sorted(codes) == [0, 0, 1]
    assert _predict(source, whole, model)[0] == 1
    assert _volumes(out) == _volumes(whole)
    assert _manifest(out)["summary"] == _manifest(whole)["summary"]
    assert sorted(p.name for p in out.glob("manifest.part*")) == [f"manifest.part-{i}-of-3.json" for i in range(3)]
    for case, row in _rows(whole).items():
        assert {**row, "seconds": "", "error": ""} == {**_rows(out)[case], "seconds": "", "error": ""}
    assert _predict(source, out, model)[0] == 1  # a later call without parts keeps everything
    assert _manifest(out)["summary"] == {"cases": 6, "done": 5, "failed": 1, "skipped": 5}


def test_out_of_memory_and_broken_code_fail_one_case(tmp_path, model, mr, monkeypatch) -> None:
    from sfg_med.inference.predictor import Predictor

    source, out = tmp_path / "in", tmp_path / "out"
    for name in "abc":
        _save(source / f"{name}.nii.gz", mr)
    honest = Predictor.predict

    def predict(self, volume, *, case=""):
        if case == "a":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nmore")
        if case == "b":
            raise ZeroDivisionError("two\nlines")
        return honest(self, volume, case=case)

    monkeypatch.setattr(Predictor, "predict", predict)
    code, _, errors = _predict(source, out, model)
    assert code == 1
    failed = [line for line in errors.splitlines() if line.startswith("failed")]
    assert len(failed) == 2
    assert "memory" in failed[0]
    assert "ZeroDivisionError: two lines" in failed[1]
    assert _volumes(out) == ["c_ct.nii.gz", "c_seg.nii.gz"]


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


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from sfg_med.cli.main import main; main()", *map(str, arguments)]


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _stop_after(command: list[str], environment: dict[str, str], out: Path, files: int, stop: int) -> tuple[int, str]:
    """Send a signal when so many segmentations are there; exit code and stderr."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stderr=pipe, stdout=pipe, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*_seg.nii.gz"))) < files and time.monotonic() < deadline:
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
    first = _manifest(out)["summary"]["done"]
    assert 0 < first < 50
    assert _leftovers(out) == []

    _stop_after(command, environment, out, first + 5, signal.SIGKILL)
    assert first < _manifest(out)["summary"]["done"] < 50  # the manifest is whole
    for path in out.glob("*.nii.gz"):
        assert not path.name.startswith(".")
        gzip.decompress(path.read_bytes())  # raises if it is not complete
    code, text, _ = _predict(source, out, model, "--json")
    assert code == 0
    assert json.loads(text)["skipped"] >= first + 4
    assert len(_volumes(out)) == 100
    assert {r["status"] for r in _rows(out).values()} == {"done"}
    assert [p for p in _leftovers(out) if p.name.endswith(".nii.gz")] == []


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


@pytest.mark.parametrize(
    "more",
    [
        ("--device", "tpu"),
        ("--precision", "fp8"),
        ("--num-parts", 2, "--part-id", 2),
        ("--samples", 0),
        ("--overlap", 2),
    ],
)
def test_wrong_options(tmp_path, model, mr, more) -> None:
    path = _save(tmp_path / "x.nii.gz", mr)
    try:
        code, _, _ = _run("-i", path, "-o", tmp_path / "out", "-m", model, *more)
    except SfgMedError:
        code = 2  # what main() makes of it
    assert code == 2
    assert not (tmp_path / "out").exists()
