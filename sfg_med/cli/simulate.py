# SPDX-License-Identifier: Apache-2.0
"""``sfg-med simulate``: paired MR, CT, organ labels, body mask and tissues of simulated male pelvises."""

from __future__ import annotations

from pathlib import Path

import typer

from sfg_med.errors import SfgMedError


def command(
    out: Path = typer.Option(..., "--out", "-o", help="Data set folder; made if absent."),
    cases: int = typer.Option(..., "--cases", "-n", help="Number of cases."),
    seed: int = typer.Option(0, "--seed", help="Same seed, same men; case i does not depend on the number of cases."),
    spacing: str = typer.Option("3", "--spacing", help="Voxel size in mm: one number, or three as 1.5,1.5,3."),
    field_of_view: str = typer.Option(
        "standard",
        "--field-of-view",
        help="standard, whole (from below the ischia to above the iliac crests), or random: whole to prostate only.",
    ),
    artefacts: bool = typer.Option(False, "--artefacts", help="Random contrast, resolution and artefacts of the MR."),
    variation: float = typer.Option(1.0, "--variation", help="How much men differ: 1 as in life, 0 not at all."),
    jobs: int = typer.Option(1, "--jobs", help="Processes that simulate at the same time."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Simulate finished cases again."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
) -> None:
    """Simulate paired MR, CT, organ labels, body mask and tissues of male pelvises, in data set layout."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sfg_med.data.simulation import simulate_dataset
    from sfg_med.transforms.randomise import Rescan

    voxel, small = parse_spacing(spacing), field_of_view == "random"
    columns = (TextColumn("simulate"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as bar:
        task = bar.add_task("simulate", total=max(cases, 1))
        result = simulate_dataset(
            out,
            cases,
            seed,
            spacing_mm=voxel,
            field_of_view="whole" if small else field_of_view,
            variation=variation,
            rescan=Rescan(voxel, artefacts=artefacts, small_fields=small) if artefacts or small else None,
            jobs=jobs,
            overwrite=overwrite,
            progress=lambda name, new: bar.advance(task),
        )
    if not quiet:
        typer.echo(f"{len(result.written)} simulated, {len(result.skipped)} were there already: {result.folder}")


def parse_spacing(text: str) -> tuple[float, ...]:
    """One or three numbers, parted by commas or spaces, as three.

    Raises:
        SfgMedError: for anything else.
    """
    try:
        values = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        raise SfgMedError("--spacing", "one or three numbers in mm", repr(text), "write 3 or 1.5,1.5,3")
    return values * 3 if len(values) == 1 else values
