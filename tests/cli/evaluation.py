# SPDX-License-Identifier: Apache-2.0
"""Small files for ``sfg-med evaluate``, and what it writes for them."""

import csv
import json

import nibabel as nib
import numpy as np
from typer.testing import CliRunner

from sfg_med.cli.main import app

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SHAPE = (16, 15, 14)


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def case(root, name, seed, *, error=20, image="ct", label="seg"):
    generator = np.random.default_rng(seed)
    reference = generator.integers(-200, 600, SHAPE).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    for value in range(1, 6):
        labels[3 * value - 3 : 3 * value, 4:9, 4:9] = value
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:-1, 1:-1, 1:-1] = 1
    save(root / "ref" / name / f"{image}.nii.gz", reference)
    save(root / "ref" / name / f"{label}.nii.gz", labels)
    save(root / "ref" / name / "mask.nii.gz", mask)
    save(root / "pred" / name / f"mr_{image}.nii.gz", (reference + error).astype(np.int16))
    save(root / "pred" / name / f"mr_{label}.nii.gz", labels)


def run(root, *options):
    arguments = ["-p", root / "pred", "-r", root / "ref", "-o", root / "out", *options]
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def results(root):
    with (root / "out" / "metrics.csv").open() as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    return rows, json.loads((root / "out" / "summary.json").read_text())
