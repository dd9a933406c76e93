# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARK = ".partial-"


@contextmanager
def atomic_path(path: Path, *, keep_suffix: bool = True) -> Iterator[Path]:
    """Give a path to write to; the file takes the name ``path`` if the block ends well, and goes otherwise.

    The temporary file is hidden and lies in the same folder, since a rename across file systems is a copy.

    Args:
        path: final name; missing folders are made.
        keep_suffix: the temporary file ends as ``path`` does, for writers that choose the format by it.
            Without, nobody who looks for ``*.nii.gz`` finds it (Python's ``glob`` also returns hidden files).

    Yields:
        The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not the process id: processes in containers that share a folder often have the same
    temporary = path.parent / f".{secrets.token_hex(8)}{MARK}{_short(path)}{'' if keep_suffix else '.tmp'}"
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a new folder to write to; it takes the name ``path`` if the block ends well, and goes otherwise.

    Args:
        path: final name, of nothing that exists when the block ends.

    Yields:
        The folder to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}{MARK}{_short(path)}"
    temporary.mkdir()
    try:
        yield temporary
        for file in (p for p in temporary.rglob("*") if p.is_file()):
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _short(path: Path) -> str:
    """A name, or what stands for a long one: with what is put before it, most file systems have 255 bytes for it."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= 200 else hashlib.sha256(name).hexdigest()[:32] + path.name[-10:]


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
            if leftover.name.removesuffix(".tmp").endswith(f"{MARK}{_short(path)}"):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
