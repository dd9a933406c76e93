# SPDX-License-Identifier: Apache-2.0
"""Reading ahead and writing behind change neither results nor order, and lose nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfg_med.inference.case import CaseWork
from sfg_med.inference.inputs import Job
from sfg_med.inference.overlap import do_jobs


@pytest.fixture(params=[1, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """With one thread the steps follow each other; with several, files are read and written beside the network."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


class Work(CaseWork):
    """Notes what is done, and in which thread."""

    def __init__(self, name: str, log: list[tuple[str, str, str]], stop: str = "") -> None:
        self.name, self.log, self.stop = name, log, stop
        self.record = {"case": name, "status": "failed"}

    def _note(self, step: str) -> None:
        self.log.append((self.name, step, threading.current_thread().name))

    def read(self) -> CaseWork:
        self._note("read")
        return self

    def compute(self) -> CaseWork:
        self._note("compute")
        if self.stop == "compute":
            raise KeyboardInterrupt
        return self

    def write(self) -> dict[str, Any]:
        self._note("write")
        self.record["status"] = "done"
        return self.record


def _jobs(names: str) -> list[Job]:
    return [Job(name, Path(f"{name}.nii"), name) for name in names]


def test_cases_come_out_in_order_whatever_is_finished_before(threads: int) -> None:
    log: list[tuple[str, str, str]] = []
    kept: list[dict[str, Any]] = []

    def start(job: Job) -> Any:
        return {"case": job.case, "status": "done", "skipped": True} if job.case in "bd" else Work(job.case, log)

    assert not do_jobs(_jobs("abcde"), start, kept.append, on_cpu=True)
    assert [r["case"] for r in kept] == list("abcde")
    assert all(r["status"] == "done" for r in kept)
    for name in "ace":
        assert [step for case, step, _ in log if case == name] == ["read", "compute", "write"]
    here = {step for _, step, thread in log if thread == threading.current_thread().name}
    assert here == ({"compute"} if threads > 1 else {"read", "compute", "write"})
    # the last case is written before the next but one is read
    steps = [(case, step) for case, step, _ in log]
    assert steps.index(("a", "write")) < steps.index(("e", "read"))


def test_at_most_two_cases_are_under_way(threads: int) -> None:
    log: list[tuple[str, str, str]] = []
    do_jobs(_jobs("abcdefgh"), lambda job: Work(job.case, log), lambda record: None, on_cpu=True)
    under_way: set[str] = set()
    for case, step, _ in log:
        if step == "read":
            under_way.add(case)
        elif step == "write":
            under_way.discard(case)
        assert len(under_way) <= 2


def test_an_interrupt_keeps_what_was_being_written(threads: int) -> None:
    log: list[tuple[str, str, str]] = []
    kept: list[dict[str, Any]] = []

    def start(job: Job) -> CaseWork:
        return Work(job.case, log, "compute" * (job.case == "b"))

    assert do_jobs(_jobs("abcd"), start, kept.append, on_cpu=True)
    assert [r["case"] for r in kept] == ["a"]


def test_no_jobs_no_work() -> None:
    assert not do_jobs([], lambda job: pytest.fail("nothing to start"), lambda record: None, on_cpu=False)


def test_a_run_writes_what_case_by_case_prediction_gives(threads, standin, save_nifti, blob_image, tmp_path) -> None:
    from sfg_med.data.volumes import read_volume
    from sfg_med.inference.inputs import find_jobs
    from sfg_med.inference.predictor import Predictor
    from sfg_med.inference.run import run_cases

    for number, shape in enumerate([(30, 31, 32), (24, 40, 26), (33, 28, 30)]):
        save_nifti(tmp_path / "in" / f"c{number}.nii.gz", blob_image(shape), np.diag([2.0, 2.0, 2.0, 1]))
    predictor = Predictor(standin(), device="cpu", precision="fp32")
    jobs = find_jobs(tmp_path / "in", tmp_path / "out", predictor.spec)
    result = run_cases(predictor, jobs, tmp_path / "out", options={})
    assert [r["status"] for r in result.records] == ["done"] * 3
    for job, record in zip(jobs, result.records, strict=True):
        alone = predictor.predict(read_volume(job.source), case=job.case)
        written = read_volume(tmp_path / "out" / record["files"]["seg"], blank_ok=True).array
        np.testing.assert_array_equal(written, alone.labels["seg"])
        assert record["seconds"] > 0
