# SPDX-License-Identifier: Apache-2.0
"""The model that sfg-med ships, made anew: ``python -m pipelines.demonstration --out DIR [KEY=VALUE]...``.

Simulate men, train with domain randomisation, export the compact network, predict and score simulated men who were
never trained on, and write the model's card. Every step is a command that a user could type, and is printed; a step
that is done is not done again, and a training that was stopped goes on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.command import run_command
from pipelines.demonstration_card import write_card
from sfg_med.cli._commands import run_sfg_med
from sfg_med.config_dir import config_dir
from sfg_med.data.atomic import write_json
from sfg_med.errors import SfgMedError

MODEL = "demonstration.safetensors"
SPLITS = "splits.json"
CONFIGS = ("randomised.yaml", "demonstration.yaml")
# Men at the end of the data set who validate and test: at most so many, and at most these parts of all.
VALIDATION, TEST = (12, 1 / 6), (28, 1 / 3)


def main(
    out: Annotated[Path, typer.Option("--out", help="Folder for data set, run, model and card.")],
    cases: Annotated[int, typer.Option(min=6, help="Simulated men.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the simulation and the training.")] = 2027,
    spacing: Annotated[str, typer.Option(help="Voxel size of the simulated men in mm.")] = "3",
    jobs: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    until: Annotated[str, typer.Option(help="Last step: simulate, train or card.")] = "card",
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config.")] = None,
) -> None:
    """Make the demonstration model from nothing. For research only, not for clinical use."""
    if until not in ("simulate", "train", "card"):
        raise SfgMedError("--until", "simulate, train or card", repr(until), "choose one of them")
    dataset, run, model = out / "simulated", out / "run", out / MODEL
    men = ("--cases", cases, "--seed", seed, "--spacing", spacing, "--field-of-view", "whole")
    sfg_med("simulate", "--out", dataset, *men, "--jobs", jobs)
    write_splits(dataset, cases)
    if until == "simulate":
        return
    words = [word for name in CONFIGS for word in ("--config", config_dir() / name)]
    options = ("--threads", threads, f"seed={seed}", *(overrides or []))
    if not (run / "models" / "model.safetensors").is_file():
        sfg_med("train", "--dataset-dir", dataset, "--run-dir", run, *words, *options)
    if until == "train":
        return
    if not model.is_file():
        sfg_med("export", "-m", run, "-o", model)
    scores = score_test_men(model, dataset, out)
    recipe = ["--cases", cases, "--seed", seed, "--spacing", spacing, "--threads", threads, *(overrides or [])]
    typer.echo(f"card: {write_card(out / 'README.md', model, scores, [str(word) for word in recipe])}")


def write_splits(dataset: Path, cases: int) -> None:
    """The last men validate and test, the others train."""
    names = [f"case{i:03d}" for i in range(cases)]
    validation, test = (min(most, int(part * cases)) for most, part in (VALIDATION, TEST))
    ends = cases - validation - test, cases - test
    parts = {"train": names[: ends[0]], "validation": names[ends[0] : ends[1]], "test": names[ends[1] :]}
    write_json(dataset / SPLITS, parts)


def test_men(dataset: Path) -> list[str]:
    """Who tests."""
    names: list[str] = json.loads((dataset / SPLITS).read_text(encoding="utf-8"))["test"]
    return names


def score_test_men(model: Path, dataset: Path, out: Path) -> Path:
    """Predict and evaluate the men who test; returns the table of metrics."""
    tests = out / "test_men"
    for name in test_men(dataset):
        link = tests / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to((dataset / name).resolve())
    sfg_med("predict", "-i", tests, "-o", out / "predictions", "-m", model)
    sfg_med("evaluate", "-p", out / "predictions", "-r", tests, "-o", out / "evaluation")
    return out / "evaluation" / "metrics.csv"


def sfg_med(*words: object) -> None:
    """Run a command of sfg-med, shown as one could type it.

    Raises:
        SfgMedError: if it fails; it has said why.
    """
    if run_sfg_med(*words):
        raise SfgMedError(f"sfg-med {words[0]}", "a finished command", "an error (see above)", "correct it")


if __name__ == "__main__":
    run_command(main)
