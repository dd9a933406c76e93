# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a command, it is said in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from sfg_med.errors import SfgMedError, printable

DEBUG = "SFG_MED_DEBUG"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line on stderr and exit code 2 in place of a traceback.

    A mistake of the user's says what to do; so does the operating system when a file cannot be read or written. What is
    left is a fault of the program: its traceback is shown where the environment variable ``SFG_MED_DEBUG`` is set.
    """
    try:
        yield
    except SfgMedError as error:
        line = str(error)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        line = _say(error)
    else:
        return
    typer.echo(f"error: {line}", err=True)
    sys.exit(2)


def _say(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return printable(": ".join([*names, error.strerror]))
    if isinstance(error, MemoryError):
        return "out of memory; use a smaller volume, --spacing or --jobs, or a machine with more memory"
    text = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    return printable(f"{text}. This is a fault of sfg_med; {DEBUG}=1 shows where, please report it")
