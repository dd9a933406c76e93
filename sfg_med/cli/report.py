# SPDX-License-Identifier: Apache-2.0
"""``sfg-med report``: a self-contained HTML page of a training run or of a prediction folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of a training run, or one that sfg-med predict wrote.")],
    metrics: Annotated[
        Path | None, typer.Option(help="metrics.csv of sfg-med evaluate, shown beside each case.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", "-r", help="Dataset folder: true image, error map, true organs."),
    ] = None,
    viewer: Annotated[str | None, typer.Option(help="Also write a viewer of this case, as sfg-med view does.")] = None,
) -> None:
    """Write qc.html into a prediction folder, or report.html into the folder of a training run.

    The page needs no other file and no network: it can be mailed or archived as it is.
    """
    from sfg_med.errors import SfgMedError
    from sfg_med.report.case_files import MANIFEST
    from sfg_med.report.run_files import HISTORY

    if (folder / MANIFEST).is_file():
        from sfg_med.report.prediction_page import write_qc_page

        typer.echo(write_qc_page(folder, metrics, reference))
        if viewer:
            from sfg_med.report.viewer import write_viewer

            typer.echo(write_viewer(folder, viewer, reference))
    elif (folder / HISTORY).is_file():
        if metrics or reference or viewer:
            expected = "predictions for --metrics, --reference or --viewer"
            raise SfgMedError(folder, expected, "a run", "leave them out")
        from sfg_med.report.run_page import write_run_page

        typer.echo(write_run_page(folder))
    else:
        found = "neither" if folder.is_dir() else "no such folder"
        raise SfgMedError(folder, f"{MANIFEST} or {HISTORY}", found, "give the folder of a prediction or a run")
