# SPDX-License-Identifier: Apache-2.0
"""Compare two dose grids by the gamma index and write ``dose.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.atomic import write_json
from sfg_med.data.dose import Dose, read_dose
from sfg_med.errors import SfgMedError
from sfg_med.metrics.gamma import CUTOFF_PERCENT, Criterion, gamma_index

SCHEMA = "sfg_med.dose/1"
DEFAULT = ("2%/2mm", "3%/3mm")


def write_dose_check(
    output: Path, evaluated: Path, reference: Path, criteria: Sequence[str] = DEFAULT, cutoff: float = CUTOFF_PERCENT
) -> dict[str, Any]:
    """Write ``dose.json`` into ``output``; see docs/reference/metrics.md.

    Args:
        output: folder.
        evaluated: dose to be judged, such as the one computed on the synthetic CT.
        reference: dose to judge by.
        criteria: such as ``2%/2mm``.
        cutoff: percent of the reference's maximum below which a point is not judged.

    Returns:
        The content of ``dose.json``.

    Raises:
        SfgMedError: for files that are no doses, or that are turned against each other.
    """
    wanted = [Criterion.parse(text) for text in criteria]
    judged, truth = read_dose(evaluated), read_dose(reference)
    axes = common_axes(judged, truth)
    results = {}
    for criterion in wanted:
        found = asdict(gamma_index(judged.array, truth.array, *axes, criterion, cutoff_percent=cutoff))
        results[str(criterion)] = {k: None if math.isnan(v) else v for k, v in found.items()}
    data = {
        "schema": SCHEMA,
        "notice": "Research only, not for clinical use.",
        "evaluated": str(evaluated),
        "reference": str(reference),
        "normalisation": "global: percent of the reference's maximum",
        "cutoff_percent": cutoff,
        "max_gy": {"evaluated": float(judged.array.max()), "reference": float(truth.array.max())},
        "gamma": results,
    }
    write_json(output / "dose.json", data)
    return data


def common_axes(first: Dose, second: Dose) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Coordinates of two grids along the same three directions, in mm.

    Raises:
        SfgMedError: if the grids are turned against each other, skewed, or have one plane only.
    """
    directions = [dose.affine[:3, :3] / dose.spacing_mm for dose in (first, second)]
    for dose, axes in zip((first, second), directions, strict=True):
        if min(dose.array.shape) < 2 or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
            raise SfgMedError(dose.path, "a grid with right angles and two planes at least", "another", "resample it")
    if not np.allclose(directions[0], directions[1], atol=1e-3):
        raise SfgMedError(first.path, f"the directions of {second.path.name}", "others", "resample one of them")
    found = []
    for dose in (first, second):
        start = directions[1].T @ dose.affine[:3, 3]
        found.append([start[i] + dose.spacing_mm[i] * np.arange(n) for i, n in enumerate(dose.array.shape)])
    return found[0], found[1]
