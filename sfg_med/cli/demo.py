# SPDX-License-Identifier: Apache-2.0
"""``sfg-med demo``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from sfg_med.cli._commands import run_sfg_med

# A small network and a short run: enough to see every step work, far from enough for good results.
_SHORT_RUN = (
    "network::channels=[16, 32, 64]",
    "network::strides=[2, 2]",
    "network::kernel_sizes=[3, 3, 3]",
    "patch_size=[96, 80, 48]",
    "batch_size=1",
    "network::group_init=default",
    "task_weights={ct: 5, seg: 1}",
    "val_interval=2",
)


def command(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that the demonstration makes.")] = Path(
        "demo"
    ),
    cases: Annotated[int, typer.Option(min=4, help="Simulated patients.")] = 12,
    steps: Annotated[int, typer.Option(min=1, help="Training iterations.")] = 250,
    seed: Annotated[int, typer.Option(help="Seed of the simulation and the training.")] = 0,
) -> None:
    """Simulate, train briefly, predict, evaluate, report: the main job on a fresh machine, a few minutes on two cores.

    Prints each command before it runs it, so that they can be repeated on other data. A second call goes on
    where the first one stopped.
    """
    dataset, run, predictions = out / "dataset", out / "run", out / "predictions"
    model = run / "models" / "model.safetensors"
    start = time.monotonic()
    _run("simulate", "--out", dataset, "--cases", cases, "--seed", seed)
    overrides = (*_SHORT_RUN, f"steps_per_epoch={min(steps, 50)}", f"steps={steps}", f"seed={seed}")
    if not model.is_file():
        _run("train", "--dataset-dir", dataset, "--run-dir", run, *overrides)
    _run("predict", "-i", dataset, "-o", predictions, "-m", model)
    _run("evaluate", "-p", predictions, "-r", dataset, "-o", run / "evaluation", "--split", "test")
    _run("report", run)
    _run("report", predictions, "--metrics", run / "evaluation" / "metrics.csv", "--reference", dataset)
    typer.echo(f"\nDone in {(time.monotonic() - start) / 60:.1f} minutes. Open these in a browser:")
    typer.echo(f"  {run / 'report.html'}      training curves and what the tasks share")
    typer.echo(f"  {predictions / 'qc.html'}  synthetic CT and organs of every case")
    typer.echo("The patients are simulated and the training is short: nothing here says how good a real model is.")


def _run(*words: object) -> None:
    code = run_sfg_med(*words)
    if code:
        raise typer.Exit(code)
