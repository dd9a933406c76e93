# SPDX-License-Identifier: Apache-2.0
"""Large blocks of memory: keep them when they are freed, and make them of large pages."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # <malloc.h>
_USERS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


@cache
def tune_allocator() -> bool:
    """Tell glibc to keep freed blocks of any size, and torch to ask for large pages; once for the process.

    By default glibc returns every larger block to the system at once and gets the next one page by page, each filled
    with zeros first; and a convolution in three dimensions jumps between more pages of 4 KiB than a processor keeps
    the addresses of. Both together cost a third of a pass in bf16 on a CPU (docs/explanation/speed.md). What the user
    has set in the environment (``MALLOC_MMAP_MAX_``, ``GLIBC_TUNABLES``, ``THP_MEM_ALLOC_ENABLE``) stays in
    force, as does another allocator. Large pages need a call before torch makes its first tensor.

    Returns:
        Whether glibc was told.
    """
    if not sys.platform.startswith("linux"):
        return False
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if any(name in os.environ for name in _USERS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
