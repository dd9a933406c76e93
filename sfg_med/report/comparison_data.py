# SPDX-License-Identifier: Apache-2.0
"""Read what the runs of a comparison left behind, and put it into one table."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sfg_med.data.atomic import atomic_path
from sfg_med.errors import SfgMedError
from sfg_med.report.case_files import read_json

RUNS, RESULT, CASES, ERROR, CONDITIONS = "runs", "result.json", "cases.csv", "error.txt", "conditions.json"
COSTS = ("parameters", "gflops", "seconds", "samples")
_FOLDER = re.compile(r"seed(\d+)-fold(\d+)$")


class Run(NamedTuple):
    """Which run: strategy, seed, fold."""

    strategy: str
    seed: int
    fold: int

    def __str__(self) -> str:
        return f"{self.strategy} seed {self.seed} fold {self.fold}"

    def folder(self, out: Path) -> Path:
        """Folder of the run in the comparison ``out``."""
        return out / RUNS / self.strategy / f"seed{self.seed}-fold{self.fold}"


@dataclass(frozen=True)
class FinishedRun:
    """A run that has its result.

    Args:
        key: which run.
        folder: the run's folder.
        result: content of ``result.json``.
        cases: test case to metric to value; empty where there is no ``cases.csv``. NaN where not defined.
    """

    key: Run
    folder: Path
    result: Mapping[str, Any]
    cases: Mapping[str, Mapping[str, float]]

    def value(self, name: str) -> float:
        """A metric or a cost; NaN where the run has none."""
        source = self.result if name in COSTS else self.result["metrics"]
        value = source.get(name)
        return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Comparison:
    """All runs of a comparison.

    Args:
        runs: the finished ones.
        missing: the others, each with the reason.
        conditions: what all runs have in common.
    """

    runs: Sequence[FinishedRun]
    missing: Mapping[Run, str]
    conditions: Mapping[str, Any]

    @cached_property
    def strategies(self) -> list[str]:
        """Names of the strategies that have a finished run, in the order of the plan."""
        return list(dict.fromkeys(run.key.strategy for run in self.runs))

    @cached_property
    def metrics(self) -> list[str]:
        """Names of all metrics that some run has a value of."""
        names = dict.fromkeys(name for run in self.runs for name in run.result["metrics"])
        return [name for name in names if any(math.isfinite(run.value(name)) for run in self.runs)]

    @cached_property
    def cases(self) -> set[str]:
        """Names of all test cases."""
        return {case for run in self.runs for case in run.cases}

    def of(self, strategy: str) -> list[FinishedRun]:
        """The finished runs of a strategy."""
        return [run for run in self.runs if run.key.strategy == strategy]

    def values(self, strategy: str, name: str) -> np.ndarray:
        """A metric or cost of every run of a strategy that has it."""
        numbers = np.array([run.value(name) for run in self.of(strategy)], dtype=np.float64)
        return numbers[np.isfinite(numbers)]

    def pairs(self, strategy: str, baseline: str) -> list[tuple[FinishedRun, FinishedRun]]:
        """Runs of a strategy with those of the baseline of the same seed and fold."""
        others = {run.key[1:]: run for run in self.of(baseline)}
        return [(run, others[run.key[1:]]) for run in self.of(strategy) if run.key[1:] in others]


def read_comparison(out: Path, planned: Iterable[tuple[str, int, int]] = ()) -> Comparison:
    """Read all runs under ``OUT/runs``.

    Args:
        out: the comparison's folder.
        planned: runs that should be there; those without a result are listed as missing, as are started runs.

    Raises:
        SfgMedError: if the folder has no ``runs``.
    """
    if not (out / RUNS).is_dir():
        raise SfgMedError(out, "the folder of a comparison, with runs/", "none", "check --out, or start the runs first")
    wanted = [Run(*run) for run in planned]
    started = sorted(key for key in map(_key, (out / RUNS).glob("*/seed*-fold*")) if key)
    finished, missing = [], {}
    for key in sorted(dict.fromkeys([*wanted, *started]), key=_order(wanted)):
        folder = key.folder(out)
        result = read_result(key, folder)
        if result is None:
            missing[key] = _reason(folder)
            continue
        try:
            finished.append(FinishedRun(key, folder, result, read_cases(folder / CASES)))
        except SfgMedError as error:  # one damaged run must not cost the page
            missing[key] = str(error)
    path = out / CONDITIONS
    conditions = read_json(path, "the conditions of the comparison") if path.is_file() else {}
    return Comparison(finished, missing, conditions)


def write_table(comparison: Comparison, path: Path) -> None:
    """Write ``results.csv``: a row for each finished run."""
    metrics = comparison.metrics
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*Run._fields, *metrics, *COSTS])
        for run in comparison.runs:
            table.writerow([*run.key, *(_text(run.value(name)) for name in (*metrics, *COSTS))])


def read_result(run: Run, folder: Path) -> dict[str, Any] | None:
    """What a finished run says of itself; ``None`` for one that is not finished or whose file is damaged."""
    try:
        result = read_json(folder / RESULT, "the result of a run")
    except SfgMedError:
        return None
    known = isinstance(result, dict) and isinstance(result.get("metrics"), dict)
    return result if known and all(result.get(k) == v for k, v in run._asdict().items()) else None


def read_cases(path: Path) -> dict[str, dict[str, float]]:
    """Read ``cases.csv``: case to metric to value. A run without that file has no cases.

    Raises:
        SfgMedError: if the file is no table of numbers by case.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {row.pop("case"): {name: float(text or "nan") for name, text in row.items()} for row in rows}
    except (OSError, KeyError, ValueError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise SfgMedError(path, "a column case and columns of numbers", found, "remove it and the result") from error


def _key(folder: Path) -> Run | None:
    match = _FOLDER.match(folder.name)
    return Run(folder.parent.name, int(match[1]), int(match[2])) if match else None


def _order(wanted: Sequence[Run]) -> Any:
    """Sort strategies as the plan names them, others after them by name; then seeds and folds."""
    names = list(dict.fromkeys(key.strategy for key in wanted))
    return lambda key: (names.index(key.strategy) if key.strategy in names else len(names), key)


def _reason(folder: Path) -> str:
    if not folder.is_dir():
        return "not started"
    error = folder / ERROR
    if not error.is_file():
        return "damaged result.json" if (folder / RESULT).is_file() else "not finished"
    lines = error.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"failed: {lines[-1][:300]}" if lines else "failed"


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.10g}"
