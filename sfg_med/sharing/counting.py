# SPDX-License-Identifier: Apache-2.0
"""Arithmetic as a pattern defines it, for counting it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_counting: ContextVar[bool] = ContextVar("counting", default=False)


@contextmanager
def without_zeros() -> Iterator[None]:
    """Inside the block no layer computes with zeros, even where that is quicker."""
    token = _counting.set(True)
    try:
        yield
    finally:
        _counting.reset(token)


def zeros_allowed() -> bool:
    """Whether layers may compute with zeros where that is quicker."""
    return not _counting.get()
