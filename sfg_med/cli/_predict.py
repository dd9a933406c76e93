# SPDX-License-Identifier: Apache-2.0
"""What ``sfg-med predict`` does after its options are parsed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sfg_med.cli._interrupt import sigterm_as_interrupt
from sfg_med.data.dicom_out.identity import Identity
from sfg_med.data.dicom_out.results import dicom_files
from sfg_med.errors import printable
from sfg_med.inference.inputs import find_jobs
from sfg_med.inference.manifest import Record
from sfg_med.inference.plausible import read_limits
from sfg_med.inference.predictor import Predictor
from sfg_med.inference.run import RunResult, run_cases
from sfg_med.model_file import load_model

INTERRUPTED = 130


def predict(source: Path, output: Path, model: Path, options: dict[str, Any], terminal: Terminal) -> int:
    """Run the command.

    Args:
        source: image, folder or list.
        output: output folder.
        model: model file.
        options: all options by name.
        terminal: how to talk to the user.

    Returns:
        Exit code: 0 all done, 1 some case failed, 130 interrupted.
    """
    if options["threads"]:
        torch.set_num_threads(options["threads"])
    names = (
        "device",
        "precision",
        "samples",
        "seed",
        "overlap",
        "sw_batch_size",
        "labels_from",
        "groups",
        "entropy_parts",
        "whole_image",
    )
    limits = read_limits(Path(options["limits"]) if options["limits"] else None)
    loaded = load_model(model)
    predictor = Predictor(loaded, **{name: options[name] for name in names})
    if options["dicom"]:
        dicom_files(loaded.spec, "")  # before hours of work: does the model predict anything that DICOM has a form for?
    jobs = find_jobs(source, output, loaded.spec, series=options["series"], dicom=options["dicom"])
    part = (options["part_id"], options["num_parts"])
    ready = time.perf_counter()
    with terminal.progress(len(jobs[part[0] :: part[1]])) as advance, sigterm_as_interrupt():
        result = run_cases(
            predictor,
            jobs,
            output,
            options=options,
            overwrite=options["overwrite"],
            part=part,
            dicom=Identity.from_environment(remove=options["deidentify"]) if options["dicom"] else None,
            limits=limits,
            progress=advance,
        )
    # Of several parts the last one draws it: each would draw what the others have done so far.
    page = _write_page(output) if result.complete and not result.interrupted else None
    terminal.summary(result, output, page, ready)
    if result.interrupted:
        return INTERRUPTED
    return 1 if result.failures else 0


@dataclass(frozen=True)
class Terminal:
    """Talks to the user: a bar while it works, a table at the end.

    Args:
        called: when the command was called, by ``time.perf_counter``.
        as_json: the summary is JSON on stdout, for scripts.
        quiet: nothing but failures.
    """

    called: float
    as_json: bool = False
    quiet: bool = False

    @contextmanager
    def progress(self, total: int) -> Iterator[Callable[[Record], None]]:
        """Bar on stderr, where that is a terminal."""
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        hidden = self.quiet or not console.is_terminal
        with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
            task = bar.add_task("predicting", total=total)
            yield lambda record: bar.update(task, advance=1, description=printable(record["case"])[-40:])

    def summary(self, result: RunResult, output: Path, page: Path | None, ready: float) -> None:
        """Counts, time, and one line for each failure; ``ready`` is when the first case could begin."""
        for record in result.failures:
            typer.echo(printable(f"failed: {record['case']}: {record['error']}"), err=True)
        if result.interrupted:
            typer.echo("interrupted: the same call goes on with the cases that are left", err=True)
        now = time.perf_counter()
        times = {"start_up_seconds": round(ready - self.called, 2), "seconds": round(now - self.called, 2)}
        facts = {**times, **_facts(result, output, page)}
        if self.as_json:
            typer.echo(json.dumps(facts))
        elif not self.quiet:
            Console().print(_table(facts))


def _facts(result: RunResult, output: Path, page: Path | None) -> dict[str, Any]:
    seconds = [record["seconds"] for record in result.predicted]
    return {
        "cases": len(result.records),
        "done": len(result.predicted),
        "skipped": result.skipped,
        "failed": len(result.failures),
        "flagged": sum(bool(record["flags"]) for record in result.records),
        "seconds_per_case": round(sum(seconds) / len(seconds), 2) if seconds else None,
        "interrupted": result.interrupted,
        "output": str(output),
        "manifest": str(output / "manifest.json"),
        "qc": str(page) if page else None,
        "failures": [{"case": r["case"], "error": r["error"]} for r in result.failures],
    }


def _table(facts: dict[str, Any]) -> Table:
    table = Table(title="sfg-med predict", show_header=False, title_justify="left")
    names = ("done", "skipped", "failed", "flagged", "start_up_seconds", "seconds_per_case", "seconds", "output", "qc")
    for name in names:
        if facts[name] is not None:
            table.add_row(name.replace("_", " "), Text(printable(str(facts[name]))))
    return table


def _write_page(output: Path) -> Path | None:
    """The pictures are an extra: without them the volumes are still good, so a failure is only said."""
    try:
        from sfg_med.report.prediction_page import write_qc_page

        return write_qc_page(output)
    except Exception as error:
        why = " ".join(repr(error).split())[:300]
        typer.echo(printable(f"warning: {output / 'qc.html'} was not written: {why}"), err=True)
        return None
