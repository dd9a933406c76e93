# SPDX-License-Identifier: Apache-2.0
"""Flags in words, whatever the unit of the measure."""

import pytest

from sfg_med.report.flags import flag_words, kind_words


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("volume:femoral_head_left", "femoral head left: implausible volume"),
        ("mean_hu:bladder", "bladder: implausible mean HU"),
        ("adc_mean_1e6mm2s:bladder", "bladder: implausible mean 1e6mm2s"),
        ("std_hu:rectum", "rectum: high uncertainty in HU"),
        ("entropy:rectum", "rectum: organ uncertain"),
        ("zones_entropy:rectum", "rectum: organ uncertain"),
        ("unlike_training:voxel_size", "input unlike the training data: voxel size"),
        ("no_orientation", "the input does not say how the patient lies: left and right are a guess"),
        ("something_new:x", "something_new:x"),
    ],
)
def test_words(flag: str, words: str) -> None:
    assert flag_words(flag) == words


def test_a_kind_is_said_without_an_organ() -> None:
    assert kind_words("empty") == "nothing was found"
    assert kind_words("unlike_training") == "input unlike the training data"
    assert kind_words("mean_hu") == "implausible mean HU"
    assert kind_words("something_new") == "something_new"
