# SPDX-License-Identifier: Apache-2.0
"""What the rows of real volumes come to: goals, spread over PROMISE12, and the cases that went wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.real_volumes_cases import HALVES
from pipelines.real_volumes_scores import HEADS

Row = Mapping[str, Any]
Rows = Sequence[Row]
PROMISE12_CASES = 26


@dataclass(frozen=True)
class Goal:
    """A figure that a model should reach on real volumes.

    Args:
        key: name in the JSON.
        title: what a table says.
        wanted: the goal in words.
        value: the figure, from all rows of a model; ``None`` if it was not measured.
        reached: whether a figure is good enough.
        digits: decimals to print.
    """

    key: str
    title: str
    wanted: str
    value: Callable[[Rows], float | None]
    reached: Callable[[float], bool]
    digits: int = 3


def _least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


def _within(limit: float) -> Callable[[float], bool]:
    return lambda value: abs(value) <= limit


def _none(value: float) -> bool:
    return value == 0


def _hipmri(column: str) -> Callable[[Rows], float | None]:
    return lambda rows: next((number(r, column) for r in rows if r["set"] == "hipmri"), None)


def _worse_head(rows: Rows) -> float | None:
    shares = [_hipmri(f"in_bone_{head}")(rows) for head in HEADS]
    known = [share for share in shares if share is not None]
    return min(known) if len(known) == len(HEADS) else None


def _promise12_median(rows: Rows) -> float | None:
    return spread(promise12(rows))["median"]


def _promise12_without(rows: Rows) -> float | None:
    found = spread(promise12(rows))
    return float(found["n"] - found["found"]) if found["n"] else None


_bone_minus_soft = _hipmri("bone_minus_soft_hu")
GOALS = (
    Goal("hipmri_dice_bladder", "HipMRI Dice bladder", "0.80 or more", _hipmri("dice_bladder"), _least(0.80)),
    Goal("hipmri_dice_prostate", "HipMRI Dice prostate", "0.60 or more", _hipmri("dice_prostate"), _least(0.60)),
    Goal("hipmri_dice_rectum", "HipMRI Dice rectum", "0.50 or more", _hipmri("dice_rectum"), _least(0.50)),
    Goal("hipmri_in_bone", "HipMRI heads inside bone, the worse one", "0.90 or more", _worse_head, _least(0.90)),
    Goal("hipmri_heads_found", "HipMRI both heads found", "yes (1)", _hipmri("heads_found"), _least(1), 0),
    Goal("hipmri_sides", "HipMRI left and right", "right (1)", _hipmri("heads_on_their_sides"), _least(1), 0),
    Goal("hipmri_bone", "HipMRI bone minus soft tissue (HU)", "200 or more", _bone_minus_soft, _least(200), 0),
    Goal("hipmri_bladder", "HipMRI bladder (HU)", "-30 to 30", _hipmri("hu_bladder"), _within(30), 0),
    Goal("promise12_median", "PROMISE12 median Dice prostate", "0.60 or more", _promise12_median, _least(0.60)),
    Goal("promise12_without", "PROMISE12 prostate missed (no overlap)", "0", _promise12_without, _none, 0),
)  # fmt: skip


def number(row: Row, column: str) -> float | None:
    """A row's number, or ``None`` where there is none."""
    value = row.get(column)
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else float(value)


def promise12(rows: Rows) -> list[Row]:
    """The rows of PROMISE12."""
    return [row for row in rows if row["set"] == "promise12"]


def spread(rows: Rows) -> dict[str, Any]:
    """Spread of the prostate's Dice over some cases; a case with an error counts as 0 and as not found.

    Returns:
        ``n``, ``errors``, ``empty`` (no prostate at all), ``found`` (some overlap), and ``median``, ``q1``, ``q3``,
        ``min``, which are ``None`` without cases.
    """
    rows = [row for row in rows if row["error"] or "dice_prostate" in row]  # others: the model has no prostate
    dice = np.array([0.0 if row["error"] else number(row, "dice_prostate") or 0.0 for row in rows])
    names = ("min", "q1", "median", "q3")
    values = [float(v) for v in np.quantile(dice, (0, 0.25, 0.5, 0.75))] if dice.size else [None] * len(names)
    return {
        "n": len(rows),
        "errors": sum(bool(row["error"]) for row in rows),
        "empty": sum(number(row, "volume_ml_prostate") == 0 for row in rows if not row["error"]),
        "found": sum(number(row, "found_prostate") == 1 for row in rows if not row["error"]),
        **dict(zip(names, values, strict=True)),
    }


def summarise(rows: Rows) -> dict[str, Any]:
    """Summary of one model: goals, and the spread over PROMISE12 by half and acquisition group."""
    cases = promise12(rows)
    groups = sorted({row["group"] for row in cases})
    goals = {}
    for goal in GOALS:
        value = goal.value(rows)
        reached = None if value is None else bool(goal.reached(value))
        goals[goal.key] = {"title": goal.title, "goal": goal.wanted, "value": value, "reached": reached}
    return {
        "cases": len(rows),
        "errors": sum(bool(row["error"]) for row in rows),
        "implausible": sum(not row["plausible"] for row in rows if not row["error"]),
        "goals": goals,
        "promise12_complete": len(cases) == PROMISE12_CASES,
        "promise12": {
            "all": spread(cases),
            **{half: spread([row for row in cases if row["half"] == half]) for half in HALVES},
        },
        "promise12_groups": {group: spread([row for row in cases if row["group"] == group]) for group in groups},
    }


def troubles(rows: Rows) -> list[tuple[str, str]]:
    """Cases that went wrong, and how: ``(set/case, words)``."""
    found = []
    for row in rows:
        words = [f"error: {row['error']}"] if row["error"] else []
        if not row["error"]:
            if number(row, "found_prostate") == 0:
                words.append("prostate not found" if number(row, "volume_ml_prostate") == 0 else "prostate elsewhere")
            words += [flag for flag in row["flags"].split(";") if flag and not flag.startswith("fov_edge")]
        if words:
            found.append((f"{row['set']}/{row['case']}", ", ".join(words)))
    return found
