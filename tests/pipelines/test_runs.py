# SPDX-License-Identifier: Apache-2.0
"""The loop over runs: resumes, survives failures, never lets two processes do one run, keeps conditions equal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.runs import Loop, Run, check_conditions, plan_runs, read_result
from sfg_med.data.lock import locked
from sfg_med.errors import SfgMedError

ROOT = Path(__file__).resolve().parents[2]


class Work:
    """Counts what it is asked to do; runs named in ``broken`` fail."""

    def __init__(self, *broken: Run) -> None:
        self.done: Counter[Run] = Counter()
        self.order: list[Run] = []
        self.broken = set(broken)

    def __call__(self, run: Run, folder: Path) -> dict[str, Any]:
        self.done[run] += 1
        self.order.append(run)
        if run in self.broken:
            raise ValueError("no\n  good")
        return {"metrics": {"mae_hu": 30.125}, "steps": 3}


def test_every_run_once_with_the_result_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, work = plan_runs(["a", "b"], [0, 1], [0, 2]), Work()
    assert len(runs) == 8
    assert Loop(tmp_path, work, show=("mae_hu", "dice"))(runs) == 0
    assert set(work.done.values()) == {1}
    result = json.loads((tmp_path / "runs" / "b" / "seed1-fold2" / "result.json").read_text())
    assert result == {"strategy": "b", "seed": 1, "fold": 2, "metrics": {"mae_hu": 30.125}, "steps": 3}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert re.fullmatch(r"\[1/8\] a seed 0 fold 0: done in \d+ s, mae_hu 30\.12", lines[0])
    assert Loop(tmp_path, work)(runs) == 0
    assert set(work.done.values()) == {1}
    assert capsys.readouterr().out.splitlines()[0].endswith("finished before")


def test_a_failing_run_is_one_line_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = Run("b", 0, 0)
    work = Work(bad)
    assert Loop(tmp_path, work)(plan_runs(["a", "b", "c"], [0])) == 1
    assert set(work.done) == set(plan_runs(["a", "b", "c"], [0]))
    errors = capsys.readouterr().err.splitlines()
    assert errors == ["[2/3] b seed 0 fold 0: failed: ValueError: no good (details in error.txt)"]
    assert "Traceback" in (bad.folder(tmp_path) / "error.txt").read_text()
    work.broken.clear()
    assert Loop(tmp_path, work)(plan_runs(["a", "b", "c"], [0])) == 0
    assert work.done[bad] == 2
    assert not (bad.folder(tmp_path) / "error.txt").exists()


def needs(strategy: str) -> str | None:
    return {"branched": "single"}.get(strategy)


def test_a_needed_run_comes_first_even_if_nobody_asked_for_it(tmp_path: Path) -> None:
    work = Work()
    assert Loop(tmp_path, work, needs=needs)(plan_runs(["branched", "a"], [0, 1])) == 0
    assert work.order == [Run("a", 0, 0), Run("a", 1, 0), *plan_runs(["single", "branched"], [0, 1])]


def test_a_run_whose_needed_run_fails_is_not_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(Run("single", 0, 0))
    assert Loop(tmp_path, work, needs=needs)(plan_runs(["branched", "single"], [0, 1])) == 1
    assert work.done[Run("branched", 0, 0)] == 0
    assert work.done[Run("single", 0, 0)] == 1
    assert work.done[Run("branched", 1, 0)] == 1
    assert "it needs single seed 0 fold 0, which failed" in capsys.readouterr().err


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_make_the_whole_without_overlap(tmp_path: Path, parts: int) -> None:
    runs, work = plan_runs(["a", "b", "branched"], [0, 1, 2]), Work()
    for part in range(parts):
        assert Loop(tmp_path, work, needs=needs)(runs, (part, parts)) == 0
    assert {run for run in work.done if run.strategy != "single"} == set(runs)
    assert set(work.done.values()) == {1}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"strategy": "a", "seed": 0, "fold": 1, "metrics": {}}', "{}"])
def test_a_damaged_result_is_no_result(tmp_path: Path, content: str) -> None:
    run = Run("a", 0, 0)
    run.folder(tmp_path).mkdir(parents=True)
    (run.folder(tmp_path) / "result.json").write_text(content)
    assert read_result(run, run.folder(tmp_path)) is None
    work = Work()
    assert Loop(tmp_path, work)([run]) == 0
    assert work.done[run] == 1
    assert read_result(run, run.folder(tmp_path)) is not None


def hold(out: Path, run: Run) -> subprocess.Popen[str]:
    """Another process that works on a run until it is killed."""
    code = f"""
        import time
        from pathlib import Path
        from pipelines.runs import Run
        from sfg_med.data.lock import locked
        with locked(Run{tuple(run)}.folder(Path({str(out)!r}))) as mine:
            print(mine, flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_run_of_another_process_is_left_to_it_and_taken_over_when_it_dies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, work = plan_runs(["a", "b"], [0]), Work()
    other = hold(tmp_path, runs[0])
    try:
        assert Loop(tmp_path, work)(runs) == 0
        assert work.order == [runs[1]]
        assert f"left to process {other.pid} on" in capsys.readouterr().out
    finally:
        end(other)
    assert Loop(tmp_path, work)(runs) == 0
    assert work.order == [runs[1], runs[0]]


def test_a_needed_run_of_another_process_is_waited_for(tmp_path: Path) -> None:
    needed, work = Run("single", 0, 0), Work()
    other = hold(tmp_path, needed)
    killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {other.pid}"])
    start = time.monotonic()
    assert Loop(tmp_path, work, needs=needs, poll_seconds=0.05)([Run("branched", 0, 0)]) == 0
    assert time.monotonic() - start > 0.5
    assert work.order == [needed, Run("branched", 0, 0)]
    killer.wait()
    end(other)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path) as first, locked(tmp_path) as second:
        assert (first, second) == (True, False)
    with locked(tmp_path) as third:
        assert third


def test_interruption_stops_everything(tmp_path: Path) -> None:
    def stop(run: Run, folder: Path) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Loop(tmp_path, stop)(plan_runs(["a"], [0, 1]))
    assert not list(tmp_path.rglob("result.json"))
    assert not list(tmp_path.rglob("error.txt"))


def test_other_conditions_are_refused_by_name(tmp_path: Path) -> None:
    check_conditions(tmp_path, {"steps": 3, "patch": (1, 2)})
    check_conditions(tmp_path, {"steps": 3, "patch": [1, 2], "new": None})
    with pytest.raises(SfgMedError, match=r"steps=4, found runs made with steps=3.*another --out"):
        check_conditions(tmp_path, {"steps": 4})
    assert json.loads((tmp_path / "conditions.json").read_text()) == {"steps": 3, "patch": [1, 2], "new": None}
    (tmp_path / "conditions.json").write_text("{")
    with pytest.raises(SfgMedError, match=r"conditions\.json"):
        check_conditions(tmp_path, {"steps": 3})
