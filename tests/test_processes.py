# SPDX-License-Identifier: Apache-2.0
"""Workers end with the process that started them, and what has not begun is given up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sfg_med.processes import worker_processes

WAIT_S = 60.0
SCRIPT = """
import os, time
from sfg_med.processes import worker_processes

if __name__ == "__main__":
    with worker_processes(2) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        os.kill(worker, 0)
        parent.kill()
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and _lives(worker):
        time.sleep(0.05)
    assert not _lives(worker)


def test_what_has_not_begun_is_given_up():
    with pytest.raises(KeyboardInterrupt), worker_processes(1) as pool:  # noqa: PT012  (leaving the block is the test)
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        waiting = [pool.submit(time.sleep, 0.5) for _ in range(200)]
        raise KeyboardInterrupt
    assert sum(future.cancelled() for future in waiting) > 190


def _lives(process: int) -> bool:
    """A worker that nobody has waited for yet is a zombie: state Z in its line of /proc."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
