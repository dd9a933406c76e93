# SPDX-License-Identifier: Apache-2.0
"""What was held equal over the runs of a comparison, and what a strategy set for itself, in readable words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sfg_med.report.comparison_data import Comparison

MAIN = (
    "dataset_dir",
    "data",
    "tasks",
    "steps",
    "batch_size",
    "patch_size",
    "image_size",
    "spacing_mm",
    "network",
    "learning_rate",
    "task_weights",
    "fraction",
    "folds",
    "samples",
)
_SIZES = ("patch_size", "image_size", "spacing_mm")
_WORDS = {"dataset_dir": "dataset", "samples": "passes of stochastic strategies"}


def condition_rows(conditions: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Names and values of the conditions: those that say what was trained, and all others; empty ones are left out."""
    given = {
        name: value for name, value in conditions.items() if value not in (None, "", [], {}) and value is not False
    }
    if not given.get("folds"):
        given.pop("folds", None)
    texts = {name: _size(value) if name in _SIZES else plain_text(value) for name, value in given.items()}
    main = [(_name(name), texts[name]) for name in MAIN if name in texts]
    rest = [(_name(name), text) for name, text in texts.items() if name not in MAIN]
    return main, rest


def own_settings(comparison: Comparison) -> dict[str, str]:
    """Strategy to the training keys that it sets itself, as the first of its runs says."""
    found = {}
    for strategy in comparison.strategies:
        settings = dict(comparison.of(strategy)[0].result.get("settings") or {})
        settings.pop("strategy", None)
        settings.pop("initial_weights", None)  # a path; the strategy's summary says where it starts
        if settings:
            found[strategy] = plain_text(settings)
    return found


def plain_text(value: Any) -> str:
    """A value of a config without brackets and quotes; of a list of named things, the names."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_name(str(key))} {plain_text(one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(one, Mapping) and "name" in one for one in value):
            return ", ".join(str(one["name"]) for one in value)
        return ", ".join(map(plain_text, value))
    return "none" if value is None else str(value)


def _size(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _name(key: str) -> str:
    return _WORDS.get(key, key.replace("::", " ").replace("_", " "))
