# SPDX-License-Identifier: Apache-2.0
"""Large blocks are kept and made of large pages, unless the user wants otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import resource
from sfg_med.allocator import tune_allocator
told = tune_allocator()
import torch
def faults():
    for _ in range(20):
        torch.ones(16 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
faults()
before = faults()
more = faults() - before
large = torch.ones(32 * 2**20)
huge = sum(int(line.split()[1]) for line in open("/proc/self/smaps") if line.startswith("AnonHugePages"))
print(told, more, huge)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize("users", [{}, {"MALLOC_MMAP_THRESHOLD_": "131072", "THP_MEM_ALLOC_ENABLE": "0"}])
def test_freed_blocks_are_kept_unless_the_user_says_otherwise(users: dict[str, str]) -> None:
    names = (
        "MALLOC_MMAP_MAX_",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
        "GLIBC_TUNABLES",
        "THP_MEM_ALLOC_ENABLE",
    )
    environment = {k: v for k, v in os.environ.items() if k not in names}
    result = subprocess.run(
        [sys.executable, "-c", CODE], check=True, capture_output=True, text=True, env={**environment, **users}
    )
    told, faults, huge = result.stdout.split()
    assert told == str(not users)
    # a block of 64 MiB is 16,384 pages, and it is asked for 20 times
    assert (int(faults) < 1000) == (not users)
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if pages.is_file() and "[madvise]" in pages.read_text():
        assert (int(huge) > 0) == (not users)
