# SPDX-License-Identifier: Apache-2.0
"""``sfg-med export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sfg_med.data.cases import Case
    from sfg_med.spec import ModelSpec


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Model file or folder.")] = None,
    kind: Annotated[str, typer.Option("--format", help="compact, pt2, onnx or torchscript.")] = "compact",
    task: Annotated[str | None, typer.Option(help="Keep one task only, such as seg.")] = None,
    dataset_dir: Annotated[
        Path | None, typer.Option(help="Cases to measure on: allows rounded group sizes, checks bf16 and the file.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which of its cases: train, validation or test.")] = "validation",
    volume: Annotated[list[Path] | None, typer.Option(help="A volume to measure on instead; may be repeated.")] = None,
) -> None:
    """Write a deployable model, compared with the original before it is kept."""
    from sfg_med.data.cases import Case
    from sfg_med.inference.export import export_model
    from sfg_med.model_file import load_model
    from sfg_med.model_path import find_model

    loaded = load_model(find_model(model))
    cases = [] if dataset_dir is None else _cases(dataset_dir, split, loaded.spec)
    cases += [Case(path.name, {loaded.spec.input_name: path}, {}) for path in volume or []]
    done = export_model(loaded, output, kind, task, cases)
    size = output.stat().st_size / 2**20
    typer.echo(f"{output}: {kind}, {size:.2f} MiB, largest relative difference to the original {done.difference:.1e}")
    (own, whole), (work, all_work) = done.parameters, done.gflop
    saved = f", of {whole:,} and {all_work:.2f} with all tasks" if task else ""
    typer.echo(f"{own:,} parameters, {work:.2f} GFLOP for a window{saved}")
    seconds, before = done.seconds
    typer.echo(f"{seconds:.3f} s for a window on this CPU, {before:.3f} s before")
    for name, difference in done.checks.items():
        verdict = "kept" if difference.accepted else "not used: 1 HU and 0.001 Dice are allowed"
        what = f"{name} ({done.moved} of {done.kernels} kernels)" if name == "rounding" and done.moved else name
        typer.echo(f"{what}: {difference}; {verdict}")
    if not cases:
        remedy = "(--dataset-dir or --volume)"
        typer.echo(f"no cases to measure on: group sizes stay as they are, bf16 and predictions are unchecked {remedy}")


def _cases(folder: Path, split: str, spec: ModelSpec) -> list[Case]:
    """Cases of one part of a dataset, by its own splits."""
    from sfg_med.data.cases import Dataset, find_cases
    from sfg_med.data.splits import PARTS, choose_splits
    from sfg_med.errors import SfgMedError

    if split not in PARTS:
        raise SfgMedError("--split", " or ".join(PARTS), repr(split), "choose one of them")
    dataset = Dataset.of(folder)
    cases = find_cases(dataset, spec)
    wanted = choose_splits(dataset.path / dataset.splits, [c.name for c in cases])[split]
    return [case for case in cases if case.name in wanted]
