# SPDX-License-Identifier: Apache-2.0
"""Write the last case and read the next one while the network works: two cases in memory at most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sfg_med.inference.case import CaseWork
from sfg_med.inference.inputs import Job
from sfg_med.inference.manifest import Record


def overlap(jobs: Sequence[Job], start: Callable[[Job], CaseWork | Record], keep: Callable[[Record], None]) -> bool:
    """Do all jobs in their order.

    The network works in this thread. Another one writes the case before, and then reads the case after: one after the
    other, so that no third case is in memory.

    Args:
        jobs: the cases.
        start: the work on a case, or the record of one that is finished already; called in the other thread.
        keep: called with each record, in order, in the other thread.

    Returns:
        Whether it was interrupted (KeyboardInterrupt). What was being written then is finished and kept.
    """

    def begin(job: Job) -> CaseWork | Record:
        work = start(job)
        return work.read() if isinstance(work, CaseWork) else work

    def finish(work: CaseWork | Record) -> None:
        keep(work.write() if isinstance(work, CaseWork) else work)

    writing: Future[None] | None = None
    ahead: Future[CaseWork | Record] | None = None
    with ThreadPoolExecutor(1, "files") as files:
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
            return True  # leaving the block waits for what is being written
    return False
