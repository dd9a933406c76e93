# SPDX-License-Identifier: Apache-2.0
"""The folders below a folder, whatever links lie in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walk(root: Path, *, leave_out: Path | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Each folder once, with the names of its files; both in order, without hidden ones.

    Links to folders are followed. A folder that they lead to twice, or in a circle, is entered by the first of its
    names.

    Args:
        root: where to begin.
        leave_out: a folder that is not entered, unless it is the root.
    """
    skipped = real(leave_out) if leave_out else None
    seen: set[Path] = set()
    for name, folders, files in os.walk(root, followlinks=True):
        here = real(Path(name))
        if here in seen or (here == skipped and here != real(root)):
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield Path(name), sorted(f for f in files if not f.startswith("."))


def real(path: Path) -> Path:
    """Where a path leads; ``Path.resolve`` raises for a link to itself, which stays what it is here."""
    return Path(os.path.realpath(path))


def exists(path: Path) -> bool:
    """Whether anything is there; ``Path.exists`` raises for a name that is too long and for a folder that is closed."""
    return os.path.exists(path)  # noqa: PTH110
