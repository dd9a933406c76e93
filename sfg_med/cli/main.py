# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``sfg-med``. Sub-commands import what they need when they run, so that ``--help`` is instant."""

from __future__ import annotations

import importlib
import pkgutil

import typer

import sfg_med.cli
from sfg_med import __version__
from sfg_med.allocator import tune_allocator
from sfg_med.cli._one_line import one_line_errors
from sfg_med.lean_import import hide_from_monai

app = typer.Typer(
    name="sfg-med",
    help="Synthetic CT and organs at risk from one pelvic MR. For research only, not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"sfg-med {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


# Every other module of this package is one sub-command: its function `command` is named after the file.
for _module in sorted(m.name for m in pkgutil.iter_modules(sfg_med.cli.__path__)):
    if _module != "main" and not _module.startswith("_"):
        app.command(_module)(importlib.import_module(f"sfg_med.cli.{_module}").command)


def main() -> None:
    """Run the command line; a user's mistake ends it with one line on stderr and exit code 2."""
    tune_allocator()
    hide_from_monai()
    with one_line_errors():
        app()


if __name__ == "__main__":
    main()
