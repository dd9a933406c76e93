# SPDX-License-Identifier: Apache-2.0
"""Flags of predict in words."""

from __future__ import annotations

_WORDS = {
    "empty": "{}: nothing was found",
    "components": "{}: in several parts",
    "fov_edge": "{}: reaches the edge of the volume and may be cut",
    "range": "{}: values cut off at the end of the range",
    "blank": "{}: one value everywhere",
    "no_orientation": "the input does not say how the patient lies: left and right are a guess",
    "modality": "the input is a {} series, which is not what the model reads",
    "single_slice": "the input is one voxel thick along some axis",
}


def flag_words(flag: str) -> str:
    """Say what a flag such as ``fov_edge:bladder`` means; an unknown one is left as it is."""
    kind, _, subject = flag.partition(":")
    return _WORDS[kind].format(subject.replace("_", " ")) if kind in _WORDS else flag
