# SPDX-License-Identifier: Apache-2.0
"""Tables of the real volumes in Markdown, to print and to paste into the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.real_volumes_summary import GOALS, PROMISE12_CASES, number, troubles


def markdown(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables for the documentation: goals, PROMISE12 by half and group, all masks, and the cases that went wrong.

    Args:
        models: name to ``{"summary": ..., "rows": ...}``.
    """
    return (
        "\n\n".join([goal_table(models), _trainings(models), _spreads(models), _organs(models), _troubles(models)])
        + "\n"
    )


def goal_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Goals against what each model reaches; what is missed is bold."""
    lines = []
    for goal in GOALS:
        cells = []
        for model in models.values():
            entry = model["summary"]["goals"][goal.key]
            cells.append(_goal_cell(entry["value"], entry["reached"], goal.digits))
        lines.append([goal.title, goal.wanted, *cells])
    partial = [name for name, m in models.items() if m["summary"]["promise12"]["all"]["n"] not in (0, PROMISE12_CASES)]
    note = "".join(f"\n\nOnly {models[n]['summary']['promise12']['all']['n']} of PROMISE12 for {n}." for n in partial)
    return _table(["goal", "wanted", *models], lines) + note


def _trainings(models: Mapping[str, Mapping[str, Any]]) -> str:
    """What each model file says of its training; none of the sets scored here may be in it."""
    return "  \n".join(f"{n}: trained on {', '.join(m['trained_on']) or 'unknown data'}." for n, m in models.items())


def _spreads(models: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, model in models.items():
        parts = {**model["summary"]["promise12"], **model["summary"]["promise12_groups"]}
        for part, s in parts.items():
            if s["n"]:
                quartiles = f"{_cell(s['q1'], 3)} to {_cell(s['q3'], 3)}"
                least = _cell(s["min"], 3)
                lines.append(
                    [name, part, s["n"], _cell(s["median"], 3), quartiles, least, s["found"], s["empty"], s["errors"]]
                )
    head = ["model", "PROMISE12 cases", "n", "median Dice", "quartiles", "least", "found", "empty", "errors"]
    return _table(head, lines)


def _organs(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Every row that is not of PROMISE12, organ by organ."""
    lines = []
    for name, model in models.items():
        for row in model["rows"]:
            if row["set"] == "promise12" or row["error"]:
                continue
            for column in row:
                organ = column.removeprefix("volume_ml_")
                if organ == column or row[column] is None:
                    continue
                numbers = [_cell(number(row, f"{kind}_{organ}"), d) for kind, d in _ORGAN_COLUMNS]
                lines.append([name, f"{row['set']}/{row['case']}", organ.replace("_", " "), *numbers])
    return _table(["model", "case", "organ", "Dice", "HD95 (mm)", "ml", "ml of the reference", "in bone"], lines)


_ORGAN_COLUMNS = (("dice", 3), ("hd95_mm", 1), ("volume_ml", 1), ("reference_ml", 1), ("in_bone", 3))


def _troubles(models: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [[name, case, words] for name, model in models.items() for case, words in troubles(model["rows"])]
    return _table(["model", "case", "what went wrong"], lines) if lines else "No case went wrong."


def _goal_cell(value: float | None, reached: bool | None, digits: int) -> str:
    text = _cell(value, digits)
    return f"**{text}**" if reached is False else text


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)
