# SPDX-License-Identifier: Apache-2.0
"""Exactly the bytes that a header has announced: never more memory than they take, never a partial volume."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfg_med.errors import SfgMedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP = b"\x1f\x8b"
# Writers pad files to blocks of this size at most; more bytes after the voxels mean that the header is wrong.
SURPLUS = 512
# What deflate can make of one byte at most: 258 bytes in two bits.
_RATIO = 1032
# Small, since what follows the end of a member is copied, and a file may have thousands of members.
_CHUNK = 1 << 16
_INFLATED_CHUNK = 1 << 20
_EITHER = 32 + zlib.MAX_WBITS  # zlib or gzip, seen from the first bytes


class _Inflated(io.RawIOBase):
    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(_EITHER)
        self._packed = b""

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer partly; 0 at the end of the stream.

        Raises:
            EOFError: if the stream has no end.
            ValueError: if much follows its end.
            zlib.error: if it is damaged.
        """
        target = memoryview(buffer)
        while True:
            if self._inflater.eof and not self._next_member():
                return 0
            self._packed = self._packed or self._file.read(_CHUNK)
            content = self._inflater.decompress(self._packed, min(len(target), _INFLATED_CHUNK))
            if not self._packed and not content and not self._inflater.eof:
                raise EOFError("the compressed data end too early")
            self._packed = self._inflater.unconsumed_tail
            if content:
                target[: len(content)] = content
                return len(content)

    def _next_member(self) -> bool:
        rest = self._inflater.unused_data
        rest += self._file.read(SURPLUS + 1) if len(rest) <= SURPLUS else b""
        if rest[:2] == GZIP:
            self._inflater, self._packed = zlib.decompressobj(_EITHER), rest
            return True
        if len(rest) > SURPLUS:
            raise ValueError("other data after the end of the compressed ones")
        return False


def inflated(file: io.BufferedReader) -> io.BufferedReader:
    """What a zlib stream, or a gzip file of one or more members, holds; read to its end its checksums are checked.

    Args:
        file: at the start of the stream.
    """
    raw: Any = _Inflated(file)
    return io.BufferedReader(raw)


@contextmanager
def open_regular(path: Path, role: str) -> Iterator[io.BufferedReader]:
    """Open a file without waiting for the other end of a pipe; whatever is wrong with its bytes becomes one line.

    Args:
        path: file to read.
        role: what the file is, for messages.

    Raises:
        SfgMedError: if it is no regular file, or if it or what is done with it raises ``OSError``, ``EOFError``,
            ``ValueError`` or ``zlib.error``.
    """
    check_regular(path, role)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            yield file
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        raise unreadable(path, role, error) from error


def check_regular(path: Path, role: str) -> None:
    """Refuse what is absent, and what could be read without an end: a pipe, socket or device.

    Raises:
        SfgMedError: saying what is there.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        number = getattr(error, "errno", errno.ENOENT)
        absent = number in (errno.ENOENT, errno.ENOTDIR)
        found = "no such file" if absent else os.strerror(number).lower()
        raise SfgMedError(path, f"a {role} image", found, "check the path") from error
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise SfgMedError(path, f"a {role} image", found, "give a file")


def read_voxels(file: io.BufferedReader, stream: io.BufferedReader, size: int) -> bytearray:
    """Read ``size`` bytes from here, and what follows them to the end of the stream.

    Args:
        file: the file on disk, whose size limits what can be in it, before anything is allocated.
        stream: the same file, or what it inflates to.
        size: bytes that the voxels take.

    Raises:
        EOFError: if there are fewer.
        ValueError: if more than a block of padding follows.
    """
    on_disk = os.fstat(file.fileno()).st_size * (1 if stream is file else _RATIO)
    if size > on_disk:
        raise EOFError(f"it cannot hold the {size} bytes of voxels that its header announces")
    content = bytearray(size)
    count = stream.readinto(content)
    if count < size:
        raise EOFError(f"{count} of {size} bytes of voxels")
    if len(stream.read(SURPLUS + 1)) > SURPLUS:
        raise ValueError(f"more than {SURPLUS} bytes after the voxels that its header announces")
    return content


def unreadable(path: Path, role: str, error: Exception) -> SfgMedError:
    """The line about a damaged file."""
    detail = " ".join(re.sub(r"^Error -?\d+ ", "", str(error)).split())[:120] or type(error).__name__
    return SfgMedError(path, f"a readable {role} image", f"a damaged one ({detail})", "copy or export it again")
