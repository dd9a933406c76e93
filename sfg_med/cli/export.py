# SPDX-License-Identifier: Apache-2.0
"""``sfg-med export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Model file or folder.")] = None,
    kind: Annotated[str, typer.Option("--format", help="compact, pt2, onnx or torchscript.")] = "compact",
    task: Annotated[str | None, typer.Option(help="Keep one task only, such as seg.")] = None,
) -> None:
    """Write a deployable model, compared with the original before it is kept."""
    from sfg_med.inference.export import export_model
    from sfg_med.inference.model_path import find_model
    from sfg_med.model_file import load_model

    loaded = load_model(find_model(model))
    difference = export_model(loaded, output, kind, task)
    size = output.stat().st_size / 2**20
    typer.echo(f"{output}: {kind}, {size:.2f} MiB, largest relative difference to the original {difference:.1e}")
