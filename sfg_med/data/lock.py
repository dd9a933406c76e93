# SPDX-License-Identifier: Apache-2.0
"""A folder that one process at a time writes to."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfg_med.errors import SfgMedError

LOCK = ".lock"
logger = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Claim a folder for the block; gives ``False`` if another process has it.

    The operating system frees the lock when its process ends, however it ends, so no lock outlives a killed run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            logger.warning("%s: this file system has no locks: do not start the same run twice", folder)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield True


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Make a folder for results, and keep other processes out of it for the block.

    Raises:
        SfgMedError: if it cannot be made, or another process has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = error.strerror or repr(error)
        raise SfgMedError(folder, "a folder to write to", found, "choose another -o") from error
    with locked(folder) as mine:
        if not mine:
            remedy = "wait for it, or choose another -o"
            raise SfgMedError(folder, "a folder that nobody else writes to now", owner(folder), remedy)
        yield


def owner(folder: Path) -> str:
    """Who holds, or held last, the lock of a folder."""
    try:
        return (folder / LOCK).read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"
