# SPDX-License-Identifier: Apache-2.0
"""Which files are predicted, and under which names."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfg_med.errors import SfgMedError
from sfg_med.inference.inputs import find_jobs, output_files
from sfg_med.model_path import demonstration_model, find_model
from sfg_med.spec import ModelSpec

SPEC = ModelSpec()


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def _found(source: Path, output: Path = Path("/nowhere")) -> list[tuple[str, str]]:
    return [(job.case, job.stem) for job in find_jobs(source, output, SPEC)]


def test_names_of_outputs() -> None:
    assert output_files(SPEC, "a/x", 1) == {"ct": "a/x_ct.nii.gz", "seg": "a/x_seg.nii.gz"}
    assert list(output_files(SPEC, "x", 2)) == ["ct", "seg", "ct_std", "seg_entropy"]


def test_folder_is_walked_and_results_are_no_inputs(tmp_path) -> None:
    names = ["b.nii.gz", "a/b/x.nii", "a/y.mha", "a/z.v1.nrrd", ".hidden.nii", ".git/x.nii", "notes.txt"]
    results = ["b_ct.nii.gz", "b_seg.nii.gz", "a/y_ct_std.nii.gz", "a/y_seg_entropy.nii.gz", "out/c.nii.gz"]
    _touch(tmp_path, *names, *results)
    expected = ["a/b/x", "a/y", "a/z.v1", "b"]
    assert _found(tmp_path, tmp_path / "out") == [(n, n) for n in expected]


def test_dataset_folder_gives_its_mr_only(tmp_path) -> None:
    _touch(
        tmp_path,
        "p1/mr.nii.gz",
        "p1/ct.nii.gz",
        "p1/mask.nii.gz",
        "p2/mr.mha",
        "p2/seg.mha",
        "p2/t1.mha",
        "p3/mr.nii",
    )
    assert _found(tmp_path) == [("p1", "p1/mr"), ("p2", "p2/mr"), ("p3", "p3/mr")]
    assert _found(tmp_path / "p1") == [("p1", "mr")]


def test_cases_have_different_names(tmp_path) -> None:
    _touch(tmp_path, "p1/mr.nii.gz", "p1.nii.gz", "p2/mr.nii.gz")
    assert _found(tmp_path) == [("p1", "p1"), ("p1/mr", "p1/mr"), ("p2", "p2/mr")]


def test_links_in_a_circle(tmp_path) -> None:
    _touch(tmp_path, "a/x.nii")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert [case for case, _ in _found(tmp_path)] == ["a/x"]


def test_two_inputs_for_one_output(tmp_path) -> None:
    _touch(tmp_path, "x.nii.gz", "x.mha", "y.nii")
    jobs = find_jobs(tmp_path, tmp_path / "out", SPEC)
    assert [job.case for job in jobs] == ["x", "y"]
    assert not jobs[1].error
    for name in ("x.nii.gz", "x.mha", "x_ct.nii.gz"):
        assert name in jobs[0].error


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image\nd/x.nii\nd/e/y.nii\n", ["e/y", "x"]),
        ("\ufeffcase;image\nP1;d/x.nii\nsub/P2;d/e/y.nii\n", ["P1", "sub/P2"]),
        ("d/x.nii\nd/e/y.nii\n\n", ["e/y", "x"]),
        ("path,age\nd/x.nii,60\nd/x.nii,60\n", ["x"]),
        ("image,output\nd/x.nii,\nd/e/y.nii,P2\n", ["P2", "x"]),
    ],
)
def test_lists(tmp_path, text, expected) -> None:
    _touch(tmp_path, "d/x.nii", "d/e/y.nii")
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    jobs = find_jobs(tmp_path / "list.csv", tmp_path / "out", SPEC)
    assert [job.stem for job in jobs] == expected
    assert all(job.source.is_file() and not job.error for job in jobs)


def test_names_in_lists_stay_in_the_output_folder(tmp_path) -> None:
    (tmp_path / "list.csv").write_text("image,case\na.nii,../../evil\nb.nii,/etc/evil\nc.nii,good\nd.nii,good\n")
    jobs = find_jobs(tmp_path / "list.csv", tmp_path / "out", SPEC)
    assert [bool(job.error) for job in jobs] == [True, True, True]
    assert "c.nii" in jobs[2].error
    assert "d.nii" in jobs[2].error


@pytest.mark.parametrize("name", ["missing", "empty", "list.csv", "binary.csv", "image.png"])
def test_nothing_to_predict(tmp_path, name) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("image\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "image.png").touch()
    with pytest.raises(SfgMedError, match=name):
        find_jobs(tmp_path / name, tmp_path / "out", SPEC)


def test_where_the_model_is(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SFG_MED_MODEL", raising=False)
    assert find_model() == demonstration_model()
    _touch(tmp_path, "models/model.safetensors", "run/model.safetensors", "other.safetensors")
    (tmp_path / "none").mkdir()
    assert find_model(tmp_path / "run") == tmp_path / "run" / "model.safetensors"
    assert find_model(tmp_path) == tmp_path / "models" / "model.safetensors"
    monkeypatch.setenv("SFG_MED_MODEL", str(tmp_path / "other.safetensors"))
    assert find_model() == tmp_path / "other.safetensors"
    for wrong in ("none", "missing.safetensors"):
        with pytest.raises(SfgMedError, match=wrong):
            find_model(tmp_path / wrong)
