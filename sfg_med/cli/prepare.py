# SPDX-License-Identifier: Apache-2.0
"""``sfg-med prepare``: from DICOM or volumes to a training-ready dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sfg_med.cli._interrupt import sigterm_as_interrupt
from sfg_med.cli.simulate import parse_spacing
from sfg_med.errors import printable

_IN = typer.Option("--input", "-i", help="Folder of cases, or a CSV with columns case,patient,mr,ct,seg,mask.")
_OUT = typer.Option("--output", "-o", help="Folder of the dataset.")
_REQUIRE = typer.Option(help="What a case must have: mr,ct | mr,seg | mr,ct,seg | mr. Others are dropped.")
_SEG = typer.Option("--seg-on", help="mr or ct: the image that organs were drawn on.")
_SPACING = typer.Option(help="Voxel size in mm, one number or three; default: each MR's own grid.")
_REGISTRATION = typer.Option(help="How the CT is moved onto the MR: none, rigid or deformable.")
_ENGINE = typer.Option(help="elastix or simpleitk; auto: elastix if installed.")
_STANDARDISE = typer.Option("--standardise", help="One intensity scale for all MR (Nyul), fitted on training cases.")
_LANDMARKS = typer.Option(help="Apply the scale of this standardisation.json instead of fitting one.")
_COUCH = typer.Option("--keep-couch", help="Leave couch and boards in the CT.")
# Rows of the table of series that are not used; all of them are in dropped.csv.
_MOST_SERIES = 30
_THREADS = typer.Option(min=0, help="CPU threads; 0: all.")


def command(
    source: Annotated[Path, _IN],
    output: Annotated[Path, _OUT],
    require: Annotated[str, _REQUIRE] = "mr,ct",
    seg_on: Annotated[str, _SEG] = "mr",
    spacing: Annotated[str | None, _SPACING] = None,
    n4: Annotated[bool, typer.Option("--n4/--no-n4", help="Correct the MR's bias field.")] = True,
    registration: Annotated[str, _REGISTRATION] = "deformable",
    engine: Annotated[str, _ENGINE] = "auto",
    keep_couch: Annotated[bool, _COUCH] = False,
    standardise: Annotated[bool, _STANDARDISE] = False,
    landmarks: Annotated[Path | None, _LANDMARKS] = None,
    seed: Annotated[int, typer.Option(help="Of the split by patient.")] = 0,
    threads: Annotated[int, _THREADS] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Prepare finished cases again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")] = False,
) -> None:
    """Prepare a dataset: N4, MR-CT registration, body mask, couch removal, one grid, splits by patient."""
    import SimpleITK as sitk  # noqa: N813
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sfg_med.data.lock import only_writer
    from sfg_med.preparation.inputs import find_sources
    from sfg_med.preparation.options import Options
    from sfg_med.preparation.run import run

    options = Options(
        require=tuple(role.strip() for role in require.split(",")),
        seg_on=seg_on,
        spacing_mm=parse_spacing(spacing) if spacing else None,
        n4=n4,
        registration=registration,
        engine=engine,
        couch=keep_couch,
    )
    sources = find_sources(source, output, options.require)
    if threads:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)
    with only_writer(output), sigterm_as_interrupt(), progress as bar:
        task = bar.add_task("preparing", total=len(sources))
        result = run(
            sources,
            output,
            options,
            seed=seed,
            standardise=standardise,
            landmarks=landmarks,
            overwrite=overwrite,
            progress=lambda record: bar.update(task, advance=1, description=printable(record["case"])[-40:]),
        )
    if result.interrupted:
        again = "the same call without --overwrite" if overwrite else "the same call"
        typer.echo(f"interrupted: {again} goes on with the cases that are left", err=True)
    _summary(result, output, as_json=as_json, quiet=quiet)
    raise typer.Exit(130 if result.interrupted else 1 if result.failures else 0)


def _summary(result: Any, output: Path, *, as_json: bool, quiet: bool) -> None:
    """One line for each dropped case, then counts and, for people, a table of the cases."""
    import json

    from rich.console import Console

    for record in result.failures:
        typer.echo(printable(f"dropped: {record['case']}: {record['error']}"), err=True)
    done = len(result.records) - len(result.failures)
    facts = {
        "cases": len(result.records),
        "done": done - result.skipped,
        "skipped": result.skipped,
        "dropped": len(result.failures),
        "flagged": sum(bool(r["flags"]) for r in result.records),
        "interrupted": result.interrupted,
        "output": str(output),
        "record": str(output / "prepare.json"),
    }
    if as_json:
        typer.echo(json.dumps(facts))
    elif not quiet:
        Console().print(_table(result.records))
        _print_unused(result.records)
        counts = f"{facts['done']} prepared, {facts['skipped']} were there already, {facts['dropped']} dropped"
        typer.echo(printable(f"{counts}: {output}"))


def _print_unused(records: list[dict[str, Any]]) -> None:
    """DICOM series that no case uses, the first of them."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    unused = [(r["case"], s["name"], s["reason"]) for r in records for s in r["series"] if not s["role"]]
    if not unused:
        return
    table = Table(title="series that are not used", title_justify="left")
    for name in ("case", "series", "reason"):
        table.add_column(name, overflow="fold")
    for row in unused[:_MOST_SERIES]:
        table.add_row(*(escape(printable(cell)) for cell in row))
    Console().print(table)
    if len(unused) > _MOST_SERIES:
        typer.echo(f"and {len(unused) - _MOST_SERIES} more series: dropped.csv")


def _table(records: list[dict[str, Any]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="sfg-med prepare", title_justify="left")
    for name in ("case", "status", "seconds", "Dice", "MI (nats)", "moved mm", "flags"):
        table.add_column(name)
    for record in records:
        figures = record["figures"]
        steps = [s for s in ("before", "rigid", "after") if f"body_dice_{s}" in figures]
        overlap = " > ".join(f"{figures[f'body_dice_{s}']:.3f}" for s in steps)
        shared = " > ".join(f"{figures[f'mutual_information_{s}']:.2f}" for s in steps)
        moved, seconds = figures.get("displacement_mm_p95", ""), record["seconds"] or ""
        status = "done" if record["status"] == "done" else "dropped"
        table.add_row(
            escape(printable(record["case"])),
            status,
            str(seconds),
            overlap,
            shared,
            str(moved),
            ", ".join(record["flags"]),
        )
    return table
