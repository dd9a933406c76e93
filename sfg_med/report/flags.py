# SPDX-License-Identifier: Apache-2.0
"""Flags of predict in words."""

from __future__ import annotations

import re

_WORDS = {
    "empty": "{}: nothing was found",
    "components": "{}: in several parts",
    "fov_edge": "{}: reaches the edge of the volume and may be cut",
    "range": "{}: values cut off at the end of the range",
    "blank": "{}: one value everywhere",
    "volume": "{}: implausible volume",
    "entropy": "{}: organ uncertain",
    "unlike_training": "input unlike the training data: {}",
    "position": "{}: implausible position to each other",
    "no_orientation": "the input does not say how the patient lies: left and right are a guess",
    "modality": "the input is a {} series, which is not what the model reads",
    "single_slice": "the input is one voxel thick along some axis",
}
# Measures are named after the unit and, after the first task, the task: mean_hu, adc_mean_1e6mm2s, std_hu.
_MEASURES = (
    (re.compile(r"(?:^|_)mean_(\w+)$"), "{}: implausible mean {unit}"),
    (re.compile(r"(?:^|_)std_(\w+)$"), "{}: high uncertainty in {unit}"),
    (re.compile(r"_entropy()$"), "{}: organ uncertain"),
)


def flag_kind(flag: str) -> str:
    """What a flag is about, without the organ: ``fov_edge`` of ``fov_edge:bladder``."""
    return flag.partition(":")[0]


def flag_words(flag: str) -> str:
    """Say what a flag such as ``fov_edge:bladder`` means; an unknown one is left as it is."""
    kind, _, subject = flag.partition(":")
    subject = subject.replace("_", " ")
    if kind in _WORDS:
        return _WORDS[kind].format(subject) if subject else _WORDS[kind].replace("{}: ", "").replace(": {}", "")
    for pattern, words in _MEASURES:
        found = pattern.search(kind)
        if found:
            unit = "HU" if found[1] == "hu" else found[1]
            return words.format(subject, unit=unit)
    return flag


def kind_words(kind: str) -> str:
    """A kind of flag in a list to choose from: ``reaches the edge of the volume and may be cut``."""
    words = flag_words(f"{kind}:")
    return words.removeprefix(": ") if words != f"{kind}:" else kind
