# SPDX-License-Identifier: Apache-2.0
"""Limits of plausible measures: read from data, with a source, and compared."""

from pathlib import Path

import pytest

from sfg_med.errors import SfgMedError
from sfg_med.inference.plausible import is_measured, judged, limit_flags, limits_to_dict, parse_limits, read_limits
from sfg_med.spec import PELVIS_LABELS


def test_shipped_limits_name_every_organ_and_survive_the_manifest() -> None:
    limits = read_limits()
    by_organ = {"volume_ml", "mean_hu", "std_hu", "entropy"}
    assert set(limits) == by_organ | {"right_mm", "anterior_mm", "superior_mm", "input"}
    assert all(set(limits[measure]) == set(PELVIS_LABELS) for measure in by_organ)
    assert parse_limits(limits_to_dict(limits)) == limits


def test_flags_of_what_lies_outside() -> None:
    limits = read_limits()
    measures = {
        "volume_ml_bladder": 19.9,
        "mean_hu_bladder": 60.0,
        "volume_ml_prostate": 0.0,  # not found: that has a flag of its own
        "volume_ml_rectum": 50.0,
        "mean_hu_rectum": 81.0,
        "entropy_rectum": 0.7,
        "volume_ml_kidney": 1e6,
    }
    assert limit_flags(measures, limits) == ["volume:bladder", "mean_hu:rectum", "entropy:rectum"]


def test_other_limits_change_the_flags_that_limits_made() -> None:
    measures = {
        "volume_ml_bladder": 19.9,
        "mean_hu_bladder": 60.0,
        "adc_mean_1e6_bladder": 3.0,
        "volume_ml_rectum": 0.0,
    }
    former = ["no_orientation", "empty:rectum", "range:ct", "adc_mean_1e6:bladder", "volume:bladder", "position:a-b"]
    narrow = parse_limits({"mean_hu": {"bladder": {"range": [0, 10], "source": "x"}}})
    kept = former[:3]
    assert judged(measures, former, narrow) == [*kept, "mean_hu:bladder"]
    assert judged(measures, former, {}) == kept
    assert is_measured(measures, narrow)
    entry = {"range": [0, 10], "source": "x"}
    assert is_measured(measures, parse_limits({"superior_mm": {"bladder-rectum": entry}}))  # one was not found
    measures["volume_ml_rectum"] = 1.0
    assert not is_measured(measures, parse_limits({"superior_mm": {"bladder-rectum": entry}}))
    assert not is_measured(measures, parse_limits({"input": {"negative_percent": entry}}))


@pytest.mark.parametrize(
    "text",
    ["a: {b: {range: [2, 1], source: s}}", "a: {b: {range: [1, 2]}}", "a: [1]", "a: {b: {range: 3}}", "a: {b: ["],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(SfgMedError, match=r"limits\.yaml"):
        read_limits(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SfgMedError, match="No such file"):
        read_limits(tmp_path / "absent.yaml")
