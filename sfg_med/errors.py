# SPDX-License-Identifier: Apache-2.0
"""The one error that a user's mistake raises: a single clear line, never a traceback."""

from __future__ import annotations

from pathlib import Path


class SfgMedError(Exception):
    """A mistake in the input, model or configuration.

    Characters of file names that a terminal cannot show, or takes for commands, are written as escapes.

    Args:
        where: the file, folder or option concerned.
        expected: what should have been there.
        found: what was there.
        remedy: what to do about it.
    """

    def __init__(self, where: str | Path, expected: str, found: str, remedy: str) -> None:
        self.where = str(where)
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__(where, expected, found, remedy)

    def __str__(self) -> str:
        line = f"expected {self.expected}, found {self.found}; {self.remedy}"
        return f"{printable(self.where)}: {printable(' '.join(line.split()))}"


def printable(text: str) -> str:
    """A text as one line that a terminal only shows: names of files may hold line breaks and control sequences."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
