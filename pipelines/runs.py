# SPDX-License-Identifier: Apache-2.0
"""Many runs, each in a folder of its own: strategies x seeds x folds, resumable and spread over processes.

A run is finished when its folder holds ``result.json``, which is written last and in one step. So a call that was
killed goes on with what is left, and a job array shares the runs by ``part``. What a single run does is the caller's.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from sfg_med.data.atomic import write_json, write_text
from sfg_med.data.lock import locked, owner
from sfg_med.errors import SfgMedError
from sfg_med.report.comparison_data import CONDITIONS, ERROR, RESULT, RUNS, Run, read_result

__all__ = ["CONDITIONS", "RUNS", "Loop", "Run", "check_conditions", "locked", "plan_runs", "read_result"]


Work = Callable[[Run, Path], Mapping[str, Any]]
"""Does a run in its folder, going on where an earlier try stopped; returns what ``result.json`` says of it."""


def plan_runs(strategies: Sequence[str], seeds: Sequence[int], folds: Sequence[int] = (0,)) -> list[Run]:
    """All runs, seed by seed, so that a stopped comparison has every strategy of the seeds that it finished."""
    return [Run(strategy, seed, fold) for seed in seeds for fold in folds for strategy in strategies]


def check_conditions(out: Path, conditions: Mapping[str, Any]) -> None:
    """Write down what all runs of a comparison have in common, or refuse to mix in runs under other conditions.

    Args:
        out: the comparison's folder.
        conditions: name to value; plain JSON types. Names that one of the calls did not have are not compared.

    Raises:
        SfgMedError: naming the first condition that differs from that of an earlier call.
    """
    path = out / CONDITIONS
    wanted = json.loads(json.dumps(conditions))
    former: dict[str, Any] = {}
    if path.is_file():
        try:
            former = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise SfgMedError(path, "the conditions of the comparison", str(error), "remove it to go on") from error
    for name, value in wanted.items():
        if name in former and former[name] != value:
            found = f"runs made with {name}={former[name]}"
            raise SfgMedError(out, f"runs with {name}={value}", found, "use another --out, or the same conditions")
    if {**former, **wanted} != former:
        write_json(path, {**former, **wanted})


@dataclass
class Loop:
    """Do all runs of a part, one after the other; a run that fails does not stop the others.

    Args:
        out: the comparison's folder.
        work: does one run.
        needs: strategy to the strategy whose run of the same seed and fold must be finished first, or ``None``.
            A needed run that is missing is done first, whoever's part it is.
        show: metrics to name in the line of a finished run.
        poll_seconds: time between two looks at a needed run that another process is doing.
    """

    out: Path
    work: Work
    needs: Callable[[str], str | None] = lambda strategy: None
    show: Sequence[str] = ()
    poll_seconds: float = 5.0
    failures: dict[Run, str] = field(default_factory=dict)

    def __call__(self, runs: Sequence[Run], part: tuple[int, int] = (0, 1)) -> int:
        """Do every N-th run.

        Args:
            runs: the runs of all parts.
            part: index (from 0) and number of parts.

        Returns:
            Exit code: 1 if some run failed, else 0. A run that another process is doing at the moment is no failure.
        """
        # runs that need others come last, so that processes of a job array seldom wait for each other
        own = sorted(runs[part[0] :: part[1]], key=lambda run: self.needs(run.strategy) is not None)
        for number, run in enumerate(own, 1):
            self._do(run, f"[{number}/{len(own)}] {run}", wait=False)
        return 1 if self.failures else 0

    def _do(self, run: Run, title: str, *, wait: bool) -> bool:
        """Do a run unless it is finished; returns whether it is finished now."""
        folder = run.folder(self.out)
        if run in self.failures:
            return False
        if read_result(run, folder):
            typer.echo(f"{title}: finished before")
            return True
        needed = self.needs(run.strategy)
        if needed is not None and not self._has(run._replace(strategy=needed), run):
            return self._fail(run, title, f"it needs {run._replace(strategy=needed)}, which failed")
        while True:
            with locked(folder) as mine:
                if mine:
                    return self._work(run, folder, title)
            if not wait:
                typer.echo(f"{title}: left to {owner(folder)}, which is doing it")
                return False
            time.sleep(self.poll_seconds)

    def _has(self, needed: Run, run: Run) -> bool:
        done = read_result(needed, needed.folder(self.out)) is not None
        return done or self._do(needed, f"{needed} (needed by {run.strategy})", wait=True)

    def _work(self, run: Run, folder: Path, title: str) -> bool:
        if read_result(run, folder):  # another process finished it between the look and the lock
            typer.echo(f"{title}: finished before")
            return True
        start = time.monotonic()
        try:
            content = dict(self.work(run, folder))
        except Exception as error:
            write_text(folder / ERROR, traceback.format_exc())
            return self._fail(run, title, _line(error))
        write_json(folder / RESULT, {**run._asdict(), **content})
        (folder / ERROR).unlink(missing_ok=True)
        typer.echo(f"{title}: done in {_duration(time.monotonic() - start)}{self._metrics(content)}")
        return True

    def _fail(self, run: Run, title: str, reason: str) -> bool:
        self.failures[run] = reason
        typer.echo(f"{title}: failed: {reason}", err=True)
        return False

    def _metrics(self, content: Mapping[str, Any]) -> str:
        metrics = content.get("metrics", {})
        return "".join(f", {name} {metrics[name]:.4g}" for name in self.show if metrics.get(name) is not None)


def _line(error: Exception) -> str:
    if isinstance(error, SfgMedError):
        return str(error)
    root: BaseException = error  # MONAI's config parser wraps what went wrong in errors that only say where
    while root.__cause__ is not None:
        root = root.__cause__
    return f"{type(root).__name__}: {' '.join(str(root).split())[:300]} (details in {ERROR})"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
