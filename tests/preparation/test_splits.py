# SPDX-License-Identifier: Apache-2.0
"""Patients are never parted, and what was decided stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfg_med.errors import SfgMedError
from sfg_med.preparation.splits import former_parts, split_by_patient, write_splits

PATIENTS = st.dictionaries(st.integers(0, 40).map("case{:02d}".format), st.integers(0, 9).map("p{}".format), min_size=1)


def part_of(splits: dict[str, list[str]]) -> dict[str, str]:
    return {case: part for part, cases in splits.items() for case in cases}


@settings(max_examples=60, deadline=None)
@given(first=PATIENTS, later=PATIENTS, seed=st.integers(0, 5))
def test_a_patient_is_in_one_part_and_stays_there(first: dict[str, str], later: dict[str, str], seed: int) -> None:
    before = split_by_patient(first, None, seed)
    both = {**later, **first}
    after = split_by_patient(both, {first[case]: part for case, part in part_of(before).items()}, seed)
    for splits, patients in ((before, first), (after, both)):
        assert sorted(c for cases in splits.values() for c in cases) == sorted(patients)
        assert all(len({part_of(splits)[c] for c in patients if patients[c] == p}) == 1 for p in patients.values())
    assert all(part_of(after)[case] == part for case, part in part_of(before).items())
    assert before["train"]


def test_every_part_has_a_patient_from_three_on() -> None:
    splits = split_by_patient({"a1": "a", "a2": "a", "b": "b", "c": "c"})
    assert all(splits.values())


def test_a_patient_who_was_away_comes_back_to_the_same_part(tmp_path: Path) -> None:
    path, cases = tmp_path / "splits.json", {"a1": "a", "a2": "a", "b1": "b", "c1": "c"}
    path.write_text('{"train": ["a1"], "validation": ["b1"], "test": ["c1", "d"]}')  # by hand
    for now in (["a1"], ["b1", "a2"], ["a1"], ["a1", "b1", "c1"]):
        patients = {case: cases[case] for case in now}
        former = former_parts(path, cases)
        write_splits(path, split_by_patient(patients, former), patients, former)
    expected = {"train": ["a1"], "validation": ["b1"], "test": ["c1"], "absent": {"d": "test"}}
    assert json.loads(path.read_text()) == expected


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    assert former_parts(tmp_path / "splits.json", {}) == {}
    (tmp_path / "splits.json").write_text("[1]")
    with pytest.raises(SfgMedError, match="JSON with the lists"):
        former_parts(tmp_path / "splits.json", {})
