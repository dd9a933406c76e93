# SPDX-License-Identifier: Apache-2.0
"""``sfg-med prepare`` and ``evaluate`` on a part of the corpus: bad files cost their own case only, in one line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from sfg_med.data.volumes import volume_suffix
from sfg_med.data.walk import exists
from tests.bad_inputs.bad_file import AFFINE, BadFile, good_image
from tests.bad_inputs.commands import Said, run, state
from tests.bad_inputs.encode import encode
from tests.bad_inputs.make_bad_inputs import write_corpus

PREPARE = ("--registration", "none", "--engine", "simpleitk", "--no-n4")
# Of what can be read, prepare drops what is no MR by its values, has too few voxels, or is sheared.
NO_MR = "at least 8 voxels|an MR, whose signal is not negative|voxel axes at right angles"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BadFile]:
    """Case name to every sixth file of those that have the suffix of a volume."""
    files = write_corpus(tmp_path_factory.mktemp("corpus") / "in")
    return {f"c{n:03d}": f for n, f in enumerate([f for f in files if volume_suffix(f.path)][::6])}


def put(file: BadFile, target: Path) -> Path:
    """A link to a file under another name, with the files beside it that its header names."""
    target = target.with_name(target.name + volume_suffix(file.path))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(file.path)
    if file.family == "other_file":
        for name in ("secret.raw", "zero"):
            (target.parent / name).symlink_to(file.path.with_name(name))
    return target


def good_ct(target: Path, file: BadFile | None = None) -> None:
    """A CT of the same body, on the grid of what is read."""
    body = good_image() > 100 if file is None or file.array is None else file.array > np.median(file.array)
    target.parent.mkdir(parents=True, exist_ok=True)
    affine = AFFINE if file is None or file.affine is None else file.affine
    target.write_bytes(encode("nii.gz", np.where(body, 200, -1000).astype("i2"), affine))


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def failed(said: Said) -> list[str]:
    return [line for line in said.errors if line.startswith(("dropped: ", "failed: "))]


def test_prepare_drops_bad_files_with_a_reason(tmp_path: Path, chosen: dict[str, BadFile]) -> None:
    for case, file in chosen.items():
        put(file, tmp_path / "in" / case / "mr")
        good_ct(tmp_path / "in" / case / "ct.nii.gz", file)
    (tmp_path / "in/c000/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/loop").symlink_to("loop")
    odd = ("a\nb", "\udcff", "\x1b[31m", "日" * 80)
    for name in odd:
        good_ct(tmp_path / "in" / name / "ct.nii.gz")
        (tmp_path / "in" / name / "mr.nii").write_bytes(encode("nii"))
    for _ in range(2):
        said = run("prepare", "-i", tmp_path / "in", "-o", tmp_path / "out", *PREPARE)
        assert said.code == 1
        reasons = {case: row["reason"] for case, row in table(tmp_path / "out/dropped.csv").items()}
        wrong = [f"{c}: {f.path} {reasons.get(c)}" for c, f in chosen.items() if not _is_right(f, reasons.get(c, ""))]
        assert not wrong, "\n".join(wrong)
        assert len(reasons) == len(failed(said))
        assert len(reasons.keys() - chosen.keys()) == len(odd)
    done = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert done == chosen.keys() - reasons.keys()
    assert len(done) > 8
    assert "Traceback" not in (tmp_path / "out/prepare.json").read_text()


def _is_right(file: BadFile, reason: str) -> bool:
    if not file.said:
        return not reason or bool(re.search(NO_MR, reason))
    missing = "expected mr, found only ct" in reason and _is_folder(file)
    return reason.isprintable() and (missing or bool(re.search(file.said, reason)))


@pytest.mark.parametrize("bad", ["pred", "ref"])
def test_evaluate_fails_for_the_bad_case_alone(tmp_path: Path, chosen: dict[str, BadFile], bad: str) -> None:
    names = {"pred": "mr_ct", "ref": "ct"}
    good = "ref" if bad == "pred" else "pred"
    for case, file in chosen.items():
        put(file, tmp_path / bad / case / names[bad])
        good_ct(tmp_path / good / case / f"{names[good]}.nii.gz", file)
    for name in (".nii.gz", ".nii"):
        good_ct(tmp_path / bad / "twins" / f"{names[bad]}.nii.gz")
        (tmp_path / bad / "twins" / f"{names[bad]}{name}").write_bytes(encode(name[1:]))
    good_ct(tmp_path / good / "twins" / f"{names[good]}.nii.gz")
    before = state(tmp_path)
    said = run("evaluate", "-p", tmp_path / "pred", "-r", tmp_path / "ref", "-o", tmp_path / "out")
    assert said.code == 1
    assert {n: v for n, v in state(tmp_path).items() if "/out/" not in n} == before
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    errors = {row["case"]: row["error"] for row in summary["failures"]}
    assert len(failed(said)) == len(errors) == summary["failed"]
    wrong = [f"{c}: {f.path} {errors.get(c)}" for c, f in chosen.items() if not _is_scored(f, errors.get(c, ""))]
    assert not wrong, "\n".join(wrong)
    assert "keep one of them" in errors["twins"]
    assert table(tmp_path / "out/metrics.csv").keys() == {*chosen, "twins"} - errors.keys()


def _is_scored(file: BadFile, error: str) -> bool:
    if not file.said or "in every voxel" in file.said:  # of one value: a result, if a poor one
        return not error
    absent = "no such file" in error and (_is_folder(file) or not exists(file.path))
    return error.isprintable() and (absent or bool(re.search(file.said, error)))


def _is_folder(file: BadFile) -> bool:
    return exists(file.path) and file.path.is_dir()
