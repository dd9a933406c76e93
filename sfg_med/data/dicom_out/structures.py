# SPDX-License-Identifier: Apache-2.0
"""What the labels of a model are called in DICOM, and their colours everywhere: data (``structures.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

from sfg_med.errors import SfgMedError
from sfg_med.spec import LabelTask

Code = tuple[str, str, str]
_KEYS = {"code", "side", "colour", "type"}


@dataclass(frozen=True)
class Structure:
    """One label.

    Args:
        number: of the ROI and the segment, from 1.
        value: in the label map.
        name: of the ROI and the segment.
        code: value, scheme and meaning of what it is.
        side: the same of left or right; None for what is there once.
        colour: red, green, blue, 0 to 255.
        type: RT ROI Interpreted Type.
    """

    number: int
    value: int
    name: str
    code: Code
    side: Code | None
    colour: tuple[int, int, int]
    type: str

    @property
    def hex_colour(self) -> str:
        """The colour as ``#rrggbb``."""
        return "#{:02x}{:02x}{:02x}".format(*self.colour)


def structures_of(task: LabelTask) -> tuple[Structure, ...]:
    """The labels of a task: by its own ``structures``, else by name from the table, else as some anatomical structure.

    Raises:
        SfgMedError: for an entry in the label set that is not what it should be.
    """
    table = _table()
    known = {n: {**table["structures"].get(n, table["other"]), **task.structures.get(n, {})} for n in task.labels}
    taken = [entry["colour"] for entry in known.values() if "colour" in entry]
    spare = cycle([colour for colour in table["colours"] if colour not in taken] or table["colours"])
    found = []
    for number, (name, value) in enumerate(task.labels.items(), 1):
        entry = {**known[name], "colour": known[name].get("colour") or next(spare)}
        found.append(_structure(number, value, name, entry, table["sides"]))
    return tuple(found)


def label_colours(task: LabelTask) -> dict[int, str]:
    """Value in the label map to ``#rrggbb``."""
    return {structure.value: structure.hex_colour for structure in structures_of(task)}


def _structure(number: int, value: int, name: str, entry: Mapping[str, Any], sides: Mapping[str, Any]) -> Structure:
    try:
        if set(entry) - _KEYS:
            raise KeyError(f"unknown {', '.join(sorted(set(entry) - _KEYS))}")
        scheme, (red, green, blue) = _code(entry["code"]), map(int, entry["colour"])
        side = _code(sides[entry["side"]]) if entry.get("side") else None
        kind = str(entry.get("type", "ORGAN"))
        return Structure(number, value, name.replace("_", " "), scheme, side, (red, green, blue), kind)
    except (KeyError, TypeError, ValueError) as error:
        expected = "code: [value, scheme, meaning], side: left or right, colour: [r, g, b], type"
        raise SfgMedError(f"structures of label {name}", expected, repr(error), "correct the label set") from error


def _code(values: Any) -> Code:
    value, scheme, meaning = map(str, values)
    return value, scheme, meaning


@cache
def _table() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("structures.json").read_text(encoding="utf-8"))
