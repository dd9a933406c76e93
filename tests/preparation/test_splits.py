# SPDX-License-Identifier: Apache-2.0
"""Patients are never parted, and what was decided stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfg_med.errors import SfgMedError
from sfg_med.preparation.splits import former_splits, split_by_patient

PATIENTS = st.dictionaries(st.integers(0, 40).map("case{:02d}".format), st.integers(0, 9).map("p{}".format), min_size=1)


def part_of(splits: dict[str, list[str]]) -> dict[str, str]:
    return {case: part for part, cases in splits.items() for case in cases}


@settings(max_examples=60, deadline=None)
@given(first=PATIENTS, later=PATIENTS, seed=st.integers(0, 5))
def test_a_patient_is_in_one_part_and_stays_there(first: dict[str, str], later: dict[str, str], seed: int) -> None:
    before = split_by_patient(first, None, seed)
    both = {**later, **first}
    after = split_by_patient(both, before, seed)
    for splits, patients in ((before, first), (after, both)):
        assert sorted(c for cases in splits.values() for c in cases) == sorted(patients)
        assert all(len({part_of(splits)[c] for c in patients if patients[c] == p}) == 1 for p in patients.values())
    assert all(part_of(after)[case] == part for case, part in part_of(before).items())
    assert before["train"]


def test_every_part_has_a_patient_from_three_on() -> None:
    splits = split_by_patient({"a1": "a", "a2": "a", "b": "b", "c": "c"})
    assert all(splits.values())


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    assert former_splits(tmp_path / "splits.json") is None
    (tmp_path / "splits.json").write_text("[1]")
    with pytest.raises(SfgMedError, match="JSON with the lists"):
        former_splits(tmp_path / "splits.json")
