# SPDX-License-Identifier: Apache-2.0
"""``sfg-med view``: a page to scroll through one predicted case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="Folder that sfg-med predict wrote.")],
    case: Annotated[str, typer.Argument(help="Name of the case in manifest.json and qc.html.")],
    reference: Annotated[
        Path | None, typer.Option("--reference", "-r", help="Dataset folder: true image, error map, true organs.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page. Default: FOLDER/CASE_viewer.html.")
    ] = None,
) -> None:
    """Write a page to scroll through all slices of one case, with its values in HU under the cursor.

    The page holds the volumes and the viewer (NiiVue): it needs no server, no network and no other file. Open it in a
    browser with WebGL 2. It holds the patient's images: treat it as you treat them.
    """
    from sfg_med.report.viewer import write_viewer

    typer.echo(write_viewer(folder, case, reference, output))
