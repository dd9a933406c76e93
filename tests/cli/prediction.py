# SPDX-License-Identifier: Apache-2.0
"""``sfg-med predict`` on small volumes, and what it has written."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.spec import ModelSpec

AFFINE = np.array([[-2.0, 0, 0, 30], [0, -2.0, 0, 20], [0, 0, 3.0, -10], [0, 0, 0, 1]])
SPEC = ModelSpec(spacing_mm=(4.0, 4.0, 4.0), patch_size=(16, 16, 16), network={"name": "SFGUNet", "channels": [8, 8]})


def _save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def _run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def _predict(source: Path, out: Path, model: Path, *more: object) -> tuple[int, str, str]:
    return _run("-i", source, "-o", out, "-m", model, "--device", "cpu", *more)


def _manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def _rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "cases.csv").open() as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def _volumes(out: Path) -> list[str]:
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*.nii.gz"))


def _leftovers(out: Path) -> list[Path]:
    return [p for p in out.rglob("*") if p.name.startswith(".") or "partial" in p.name]


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from sfg_med.cli.main import main; main()", *map(str, arguments)]
