# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfg_med.data.cases import Dataset, find_cases
from sfg_med.data.splits import PARTS, choose_splits, fold_splits, make_splits, read_splits
from sfg_med.errors import SfgMedError
from sfg_med.spec import ModelSpec

SPEC = ModelSpec()


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path) if "nii" in name else path.touch()
    return root


def test_the_case_folder_layout_with_missing_targets_and_formats(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/mr.nii.gz", "b/ct.nii.gz", "a/mr.mha", "a/seg.nrrd", "a/mask.nii", "b/mr_old.nii.gz", "notes.txt"
    )
    first, second = find_cases(Dataset.of(tmp_path), SPEC)
    assert (first.name, second.name) == ("a", "b")
    assert {role: p.name for role, p in first.files.items()} == {"mr": "mr.mha", "seg": "seg.nrrd", "mask": "mask.nii"}
    assert set(second.files) == {"mr", "ct"}


def test_other_layouts_and_label_values_are_configuration(tmp_path: Path) -> None:
    touch(tmp_path, "case01_t2.nii.gz", "case01_prostate.nii.gz", "case02_t2.nii.gz", "case02_t2_old.nii.gz")
    dataset = Dataset.of(
        {
            "path": tmp_path,
            "files": {"mr": "{case}_t2", "seg": "{case}_prostate"},
            "labels": {"seg": {"prostate": 1}},
        }
    )
    cases = find_cases(dataset, SPEC)
    assert [c.name for c in cases] == ["case01", "case02"]
    assert set(cases[0].files) == {"mr", "seg"}
    assert cases[0].labels == {"seg": {"prostate": 1}}


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        ((), {}, ["cases", "none"]),
        (("a/ct.nii.gz",), {}, ["mr.nii.gz", "ct.nii.gz"]),
        (("a/mr.nii.gz", "a/mr.nii"), {}, ["one mr file", "mr.nii"]),
        (("a/mr.nii.gz",), {"labels": {"seg": {"liver": 1}}}, ["liver", "prostate"]),
        (("a/mr.nii.gz",), {"pattern": 1}, ["pattern", "options"]),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, files: tuple, options: dict, words: list[str]) -> None:
    touch(tmp_path, *files)
    with pytest.raises(SfgMedError) as caught:
        find_cases(Dataset.of({"path": tmp_path, **options}), SPEC)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SfgMedError, match="no folder"):
        Dataset.of(tmp_path / "nowhere")


@given(st.integers(1, 40), st.integers(0, 5))
def test_random_parts_hold_every_case_once(count: int, seed: int) -> None:
    cases = [f"c{i}" for i in range(count)]
    splits = make_splits(cases, seed)
    assert sorted(c for part in PARTS for c in splits[part]) == sorted(cases)
    assert splits == make_splits(cases[::-1], seed)
    assert splits["train"]
    assert count < 3 or all(splits[part] for part in PARTS)


@given(st.integers(2, 25), st.data())
def test_folds_test_every_case_once_and_never_train_on_it(count: int, data: st.DataObject) -> None:
    cases = [f"c{i}" for i in range(count)]
    folds = data.draw(st.integers(2, count))
    parts = [fold_splits(cases, folds, i, seed=3) for i in range(folds)]
    assert sorted(c for p in parts for c in p["test"]) == sorted(cases)
    for p in parts:
        assert not set(p["train"]) & (set(p["test"]) | set(p["validation"]))
        assert sorted({*p["train"], *p["validation"], *p["test"]}) == sorted(cases)


@given(st.integers(2, 25), st.data())
def test_the_cases_of_a_patient_are_in_one_part_of_every_fold(count: int, data: st.DataObject) -> None:
    cases = [f"c{i}" for i in range(count)]
    patients = {case: data.draw(st.sampled_from("pqrs")) for case in cases if data.draw(st.booleans())}
    known = {patients.get(case, case) for case in cases}
    folds = data.draw(st.integers(2, max(2, len(known))))
    if folds > len(known):
        with pytest.raises(SfgMedError, match="folds"):
            fold_splits(cases, folds, 0, patients=patients)
        return
    parts = [fold_splits(cases, folds, i, patients=patients) for i in range(folds)]
    assert sorted(c for p in parts for c in p["test"]) == sorted(cases)
    for p in parts:
        train, test, validation = ({patients.get(c, c) for c in p[name]} for name in ("train", "test", "validation"))
        assert not train & (test | validation)


def test_folds_take_the_patients_of_the_dataset(tmp_path: Path) -> None:
    path, cases = tmp_path / "splits.json", ["a", "b", "c", "d"]
    path.write_text(json.dumps({"train": cases, "patients": {"a": "p", "b": "p", "c": "q", "d": "q"}}))
    tested = [choose_splits(path, cases, folds=2, fold=i)["test"] for i in range(2)]
    assert sorted(tested) == [["a", "b"], ["c", "d"]]
    path.write_text('{"patients": [1]}')
    with pytest.raises(SfgMedError, match="patients"):
        choose_splits(path, cases, folds=2)


def test_a_splits_file_is_used_as_it_is_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    wanted = {"train": ["a"], "validation": ["b"], "test": []}
    path.write_text(json.dumps(wanted))
    assert choose_splits(path, ["a", "b", "c"]) == wanted
    for bad, word in (
        ({"train": ["z"]}, "z"),
        ({"train": ["a"], "test": ["a"]}, "two"),
        ({"validation": ["a"]}, "none"),
    ):
        path.write_text(json.dumps(bad))
        with pytest.raises(SfgMedError, match=word):
            read_splits(path, ["a", "b", "c"])
    path.write_text("{")
    with pytest.raises(SfgMedError, match=r"splits\.json"):
        read_splits(path, ["a"])
    path.unlink()
    with pytest.raises(SfgMedError, match="folds"):
        choose_splits(path, ["a", "b"], folds=3)
