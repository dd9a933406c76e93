# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARK = ".partial-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path to write to; the file takes the name ``path`` if the block ends well, and goes otherwise.

    The temporary file is hidden, lies in the same folder (a rename across file systems is a copy) and ends in
    all suffixes of ``path``, since writers choose the format by them.

    Args:
        path: final name; missing folders are made.

    Yields:
        The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the process id: processes in containers that share a folder often have the same
    temporary = path.parent / f".{secrets.token_hex(8)}{MARK}{path.name}"
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write JSON in one step; NaN is an error because other readers refuse it."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def remove_leftovers(path: Path) -> None:
    """Delete what killed processes left behind while they wrote ``path``."""
    if path.parent.is_dir():
        for leftover in path.parent.glob(f".*{MARK}*"):
            if leftover.name.endswith(f"{MARK}{path.name}"):
                leftover.unlink(missing_ok=True)
