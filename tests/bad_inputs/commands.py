# SPDX-License-Identifier: Apache-2.0
"""Run a command as a user does, and look at what it says."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from sfg_med.cli.main import main


class Said(NamedTuple):
    """Exit code and the lines of a command."""

    code: int
    out: str
    errors: list[str]


def run(*arguments: object) -> Said:
    """Run ``sfg-med ...`` in this process; whatever it prints must be plain lines without a traceback."""
    out, errors = io.StringIO(), io.StringIO()
    argv = ["sfg-med", *map(str, arguments)]
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), mock.patch.object(sys, "argv", argv):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    said = Said(code, out.getvalue(), errors.getvalue().splitlines())
    for line in (*said.out.split("\n"), *errors.getvalue().split("\n")):
        assert line.isprintable(), repr(line)
        assert "Traceback" not in line
        assert "fault of sfg_med" not in line, line
    return said


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder with its size and time of change."""
    found = ((path, path.lstat()) for path in folder.rglob("*"))
    return {str(path): (facts.st_size, facts.st_mtime_ns) for path, facts in found if not path.is_dir()}
