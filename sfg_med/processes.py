# SPDX-License-Identifier: Apache-2.0
"""Worker processes that end with the process that started them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process


@contextmanager
def worker_processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each; when the block is left early, what has not begun is given up.

    They are spawned: a fork of a process with threads of torch or BLAS can hang.
    """
    pool = ProcessPoolExecutor(number, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded, which is later
    end_with_parent()  # else a pool's workers outlive a killed one: they wait for work, holding both ends of their pipe


def end_with_parent() -> None:
    """End this process, from a thread, when the one that started it has ended."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
