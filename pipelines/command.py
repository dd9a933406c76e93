# SPDX-License-Identifier: Apache-2.0
"""A pipeline as a command: a user's mistake is one line and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from sfg_med.allocator import tune_allocator
from sfg_med.cli._one_line import one_line_errors
from sfg_med.lean_import import hide_from_monai


def run_command(main: Callable[..., Any]) -> None:
    """Run a typer function with the arguments of the command line."""
    tune_allocator()
    hide_from_monai()
    with one_line_errors():
        typer.run(main)
