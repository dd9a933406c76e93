# SPDX-License-Identifier: Apache-2.0
"""Write the last case and read the next one while the network works: two cases in memory at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from sfg_med.inference.case import CaseWork
from sfg_med.inference.inputs import Job
from sfg_med.inference.manifest import Record

Start = Callable[[Job], CaseWork | Record]
Keep = Callable[[Record], None]


def do_jobs(jobs: Sequence[Job], start: Start, keep: Keep, *, on_cpu: bool) -> bool:
    """Do all jobs in their order.

    With three threads or more, or a GPU, files are read and written in one thread while the network works in this one
    with the rest of them. Two threads both work for the network, case after case: a thread that is kept from its part
    of a layer keeps the others waiting, which costs more than it gives (docs/explanation/speed.md).

    Args:
        jobs: the cases.
        start: the work on a case, or the record of one that is finished already.
        keep: called with each record, in order.
        on_cpu: whether the network works on the CPU.

    Returns:
        Whether it was interrupted (KeyboardInterrupt). What was being written then is finished and kept, if it was in
        another thread.
    """
    threads = torch.get_num_threads()
    try:
        if on_cpu and threads < 3:
            _one_after_another(jobs, start, keep)
        else:
            with _threads(threads - 1 if on_cpu else threads):
                _overlapping(jobs, start, keep)
    except KeyboardInterrupt:
        return True
    return False


def _one_after_another(jobs: Sequence[Job], start: Start, keep: Keep) -> None:
    for job in jobs:
        work = start(job)
        keep(work.read().compute().write() if isinstance(work, CaseWork) else work)


def _overlapping(jobs: Sequence[Job], start: Start, keep: Keep) -> None:
    """The other thread writes the case before and then reads the case after, so that no third one is in memory."""

    def begin(job: Job) -> CaseWork | Record:
        work = start(job)
        return work.read() if isinstance(work, CaseWork) else work

    def finish(work: CaseWork | Record) -> None:
        keep(work.write() if isinstance(work, CaseWork) else work)

    writing: Future[None] | None = None
    ahead: Future[CaseWork | Record] | None = None
    with ThreadPoolExecutor(1, "files", torch.set_num_threads, (1,)) as files:
        try:
            for number, job in enumerate(jobs):
                work = (ahead or files.submit(begin, job)).result()
                ahead = files.submit(begin, jobs[number + 1]) if number + 1 < len(jobs) else None
                if isinstance(work, CaseWork):
                    work.compute()
                if writing is not None:
                    writing.result()
                writing = files.submit(finish, work)
            if writing is not None:
                writing.result()
        except KeyboardInterrupt:
            if ahead is not None:
                ahead.cancel()
            raise  # leaving the block waits for what is being written


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Threads of the network; afterwards as before, in threads that are yet to come as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
