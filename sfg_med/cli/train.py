# SPDX-License-Identifier: Apache-2.0
"""``sfg-med train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ignite.engine import Engine
    from rich.progress import Progress


def command(
    dataset_dir: Path = typer.Option(..., "--dataset-dir", help="One folder per case: mr, and any of ct, seg, mask."),
    run_dir: Path = typer.Option(Path("runs/sfg"), "--run-dir", help="All that the run writes; resumed if it exists."),
    config: list[Path] = typer.Option([], "--config", help="A config laid over configs/train.yaml; may be repeated."),
    threads: int = typer.Option(0, help="Threads of the processor; 0 leaves it to torch."),
    quiet: bool = typer.Option(False, "--quiet", help="No progress bar."),
    overrides: list[str] = typer.Argument(None, metavar="[KEY=VALUE]...", help="Keys of configs/train.yaml."),
) -> None:
    """Train one network for synthetic CT and organs: the bundle's config, with unknown keys refused.

    SIGTERM and SIGUSR1 end it after the iteration, saved, with exit code 75; the same call goes on.
    """
    import logging
    import warnings

    import torch

    from sfg_med.config_dir import config_dir
    from sfg_med.report.run_page import write_run_page
    from sfg_med.training.runner import parse_overrides, train, training_workflow
    from sfg_med.training.stopping import RunStopped

    warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it logs errors that are raised as well
    logging.getLogger("monai.bundle.workflows").setLevel(logging.ERROR)
    if threads:
        torch.set_num_threads(threads)
    values = {"dataset_dir": str(dataset_dir), "run_dir": str(run_dir), **parse_overrides(overrides or [])}
    workflow = training_workflow([config_dir() / "train.yaml", *config], values)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, one shows and writes
    try:
        folder = train(workflow, [_ProgressBar()] if first and not quiet else [])
    except RunStopped as stopped:
        typer.echo(str(stopped) if first else "", err=True, nl=first)
        raise
    if not first:
        return
    typer.echo(f"model:  {folder / 'models' / 'model.safetensors'}\nreport: {write_run_page(folder)}")


class _ProgressBar:
    """Iterations, time left, loss and last validation score."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def attach(self, engine: Engine) -> None:
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iterated)
        engine.add_event_handler(Events.COMPLETED, self.finished)
        engine.add_event_handler(Events.TERMINATE, self.finished)

    def started(self, engine: Engine) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.description}")
        columns: list[Any] = [text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        self.progress = Progress(*columns, console=Console(stderr=True))
        total = (engine.state.max_epochs or 1) * (engine.state.epoch_length or 1)
        self.task = self.progress.add_task("training", total=total, completed=engine.state.iteration)
        self.progress.start()

    def iterated(self, engine: Engine) -> None:
        if self.progress is not None:
            loss = engine.state.output["loss"].item()  # type: ignore[index]
            self.progress.update(self.task, completed=engine.state.iteration, description=f"training, loss {loss:.3f}")

    def finished(self, engine: Engine) -> None:
        if self.progress is not None:
            self.progress.stop()
