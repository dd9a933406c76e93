# SPDX-License-Identifier: Apache-2.0
"""Which cases are found in a folder or a CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from sfg_med.data.dicom import MAKER
from sfg_med.errors import SfgMedError
from sfg_med.preparation.inputs import Source, find_sources
from tests.data.dicom.series_files import write_series

AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])
ARRAY = np.arange(9 * 8 * 6, dtype=np.uint16).reshape(9, 8, 6)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def find(source: Path, *require: str) -> dict[str, Source]:
    return {s.case: s for s in find_sources(source, source.parent / "out", require or ("mr", "ct"))}


def test_folders_are_cases_and_the_first_part_is_the_patient(tmp_path: Path) -> None:
    root = tmp_path / "in"
    touch(root / "p1/mr.nii.gz", root / "p1/ct.mha", root / "p2/first/mr.nrrd", root / "p2/first/ct.nii")
    touch(root / "p2/second/MR.nii.gz", root / "p2/second/ct.nii.gz", root / "p3/notes.txt", root / ".hidden/mr.nii")
    found = find(root)
    assert {case: source.patient for case, source in found.items()} == {"p1": "p1", "p2_first": "p2", "p2_second": "p2"}
    assert not any(source.problem for source in found.values())
    assert found["p1"].files == {"mr": root / "p1/mr.nii.gz", "ct": root / "p1/ct.mha"}


def test_the_dataset_inside_the_folder_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "a/mr.nii.gz", tmp_path / "out/b/mr.nii.gz")
    assert [s.case for s in find_sources(tmp_path, tmp_path / "out", ("mr",))] == ["a"]


def test_what_is_missing_is_said_with_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path / "in/a/mr.nii.gz")
    problem = find(tmp_path / "in")["a"].problem
    assert "expected ct, found only mr (" in problem
    assert "--require mr" in problem
    assert not find(tmp_path / "in", "mr")["a"].problem


def test_a_role_in_two_formats_is_a_problem(tmp_path: Path) -> None:
    touch(tmp_path / "in/a/mr.nii.gz", tmp_path / "in/a/mr.mha", tmp_path / "in/a/ct.mha")
    assert "expected one mr file" in find(tmp_path / "in")["a"].problem


def test_two_cases_of_one_name_are_a_problem(tmp_path: Path) -> None:
    touch(tmp_path / "in/a_b/mr.nii.gz", tmp_path / "in/a/b/mr.nii.gz")
    assert "2 of them" in find(tmp_path / "in", "mr")["a_b"].problem


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_names_cases_patients_and_files(tmp_path: Path, separator: str) -> None:
    touch(tmp_path / "data/1.nii.gz", tmp_path / "data/1_ct.mha", tmp_path / "data/2.nii.gz")
    rows = (
        ("Case", "patient", "MR", "ct", "note"),
        ("x1", "anna", "data/1.nii.gz", "data/1_ct.mha", "n"),
        ("x2", "anna", str(tmp_path / "data/2.nii.gz"), "data/lost.mha", ""),
        ("", "bert", "data/2.nii.gz", "", ""),
        ("../up", "bert", "data/2.nii.gz", "data/1_ct.mha", ""),
    )
    table = tmp_path / "cases.csv"
    table.write_text("\ufeff" + "\n".join(separator.join(row) for row in rows) + "\n\n", encoding="utf-8")
    found = find(table)
    assert {case: s.patient for case, s in found.items()} == {
        "x1": "anna",
        "x2": "anna",
        "bert": "bert",
        "../up": "bert",
    }
    assert found["x1"].files == {"mr": tmp_path / "data/1.nii.gz", "ct": tmp_path / "data/1_ct.mha"}
    assert not found["x1"].problem
    assert "lost.mha" in found["x2"].problem
    assert "expected ct" in found["bert"].problem
    assert "letters, digits" in found["../up"].problem


def test_no_case_at_all_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    for source, words in (
        (tmp_path / "in", "cases such as"),
        (tmp_path / "x.csv", "columns"),
        (tmp_path / "no", "no such"),
    ):
        with pytest.raises(SfgMedError, match=words):
            find_sources(source, tmp_path / "out", ("mr",))


def _incomplete(folder: Path) -> None:
    """A slice in the middle is gone."""
    next(file for file in folder.iterdir() if dcmread(file).ImagePositionPatient[2] == 9).unlink()


@pytest.mark.parametrize("refused", ["t2_tse_tra", "PZ_fine"])
@pytest.mark.parametrize("name", ["ep2d_ADC", "dwi_b1000", "calculated"])
def test_diffusion_is_not_taken_for_an_mr_unless_a_table_names_it(tmp_path: Path, name: str, refused: str) -> None:
    def derive(ds: Dataset, index: int) -> None:
        ds.DiffusionBValue = 800.0

    _incomplete(write_series(tmp_path / "in/p/t2", ARRAY, AFFINE, description=refused, uid="t2"))
    write_series(
        tmp_path / "in/p/dwi", ARRAY, AFFINE, description=name, change=derive if name == "calculated" else None
    )
    source = find(tmp_path / "in", "mr")["p"]
    assert not source.files
    assert f"004_{name} (diffusion, which is taken only where a CSV names it)" in source.problem
    assert f"004_{refused} (1 slice missing: 6 mm" in source.problem
    (tmp_path / "c.csv").write_text("case,mr\np,in/p/dwi\n")
    assert not find(tmp_path / "c.csv", "mr")["p"].problem


def test_no_other_mr_takes_the_place_of_a_refused_t2(tmp_path: Path) -> None:
    _incomplete(write_series(tmp_path / "in/p/t2", ARRAY, AFFINE, uid="t2"))
    write_series(tmp_path / "in/p/t1", ARRAY, AFFINE, description="t1_vibe")
    problem = find(tmp_path / "in", "mr")["p"].problem
    assert "expected one MR series, found 1 (004_t1_vibe); 004_t2_tse_tra is refused (1 slice missing" in problem
    assert "in a CSV" in problem


def test_a_synthetic_ct_is_not_taken_for_a_ct(tmp_path: Path) -> None:
    def predict(ds: Dataset, index: int) -> None:
        ds.Manufacturer = MAKER

    write_series(tmp_path / "in/p/mr", ARRAY, AFFINE)
    write_series(tmp_path / "in/p/ct", ARRAY, AFFINE, modality="CT", description="sCT", uid="ct", change=predict)
    source = find(tmp_path / "in")["p"]
    assert set(source.files) == {"mr"}
    assert "004_sCT (made by sfg_med: a prediction is no input)" in source.problem
    # a real one beside it is taken
    write_series(tmp_path / "in/p/plan", ARRAY, AFFINE, modality="CT", description="plan", uid="plan")
    assert find(tmp_path / "in")["p"].files["ct"] == tmp_path / "in/p/plan"
