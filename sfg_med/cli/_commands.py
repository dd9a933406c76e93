# SPDX-License-Identifier: Apache-2.0
"""Commands of sfg-med that a program runs one after the other, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from multiprocessing import get_context

import typer

from sfg_med.processes import end_with_parent

# The server loads torch and MONAI once, which takes longer than many a command, and starts no thread: it can be forked.
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sfg_med.cli._preload"])


def run_sfg_med(*words: object) -> int:
    """Run a command of sfg-med, shown as one could type it.

    Returns:
        Its exit code; negative: the signal that ended it.
    """
    arguments = [str(word) for word in words]
    typer.secho(f"\n$ sfg-med {' '.join(_quoted(a) for a in arguments)}", bold=True)
    sys.stdout.flush()
    process = _CONTEXT.Process(target=_run, args=(arguments,))
    process.start()
    process.join()
    return int(process.exitcode or 0)


def _run(arguments: Sequence[str]) -> None:
    from sfg_med.cli.main import main

    end_with_parent()
    sys.argv = ["sfg-med", *arguments]
    main()


def _quoted(word: str) -> str:
    return f"'{word}'" if set(word) & set(" []") else word
