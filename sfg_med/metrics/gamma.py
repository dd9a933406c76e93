# SPDX-License-Identifier: Apache-2.0
"""Gamma index between two dose grids (Low et al., 1998), by pymedphys."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfg_med.errors import SfgMedError

CUTOFF_PERCENT = 10.0
LARGEST = 2.0
"""The search stops here: points that are worse count as 2."""

Axes = Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class Criterion:
    """How far a dose may be off: percent of the reference's maximum, millimetres."""

    percent: float
    mm: float

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """Read ``2%/2mm``.

        Raises:
            SfgMedError: for anything else.
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*/\s*(\d+(?:\.\d+)?)\s*mm\s*", text)
        if not found or min(values := (float(found[1]), float(found[2]))) <= 0:
            raise SfgMedError("--gamma", "a criterion such as 2%/2mm", repr(text), "give percent and millimetres")
        return cls(*values)

    def __str__(self) -> str:
        return f"{self.percent:g}%/{self.mm:g}mm"


@dataclass(frozen=True)
class Gamma:
    """Result of one criterion.

    Args:
        points: points of the reference that were judged: those with at least the cut-off's dose.
        pass_percent: part of them with a gamma index of at most 1; NaN without points.
        mean: mean gamma index; points beyond :data:`LARGEST` count as it.
    """

    points: int
    pass_percent: float
    mean: float


def gamma_index(
    evaluated: ArrayLike,
    reference: ArrayLike,
    axes_evaluated: Axes,
    axes_reference: Axes,
    criterion: Criterion,
    *,
    cutoff_percent: float = CUTOFF_PERCENT,
) -> Gamma:
    """Judge every point of the reference, with the global criterion: percent of the reference's maximum.

    Args:
        evaluated: dose to be judged, ``(X, Y, Z)`` in Gy; interpolated between its points.
        reference: true dose, ``(X', Y', Z')`` in Gy.
        axes_evaluated: coordinates of the points along each axis in mm, ascending.
        axes_reference: the same of the reference, along the same directions.
        criterion: tolerances.
        cutoff_percent: points below this part of the reference's maximum are not judged.

    Raises:
        SfgMedError: without the package pymedphys.
    """
    try:
        import pymedphys
    except ImportError as error:
        raise SfgMedError("gamma index", "the package pymedphys", "none", "pip install 'sfg-med[dose]'") from error
    expected = np.asarray(reference, np.float64)
    if not expected.max() > 0:
        return Gamma(0, math.nan, math.nan)
    values = pymedphys.gamma(
        tuple(axes_reference),
        expected,
        tuple(axes_evaluated),
        np.asarray(evaluated, np.float64),
        criterion.percent,
        criterion.mm,
        lower_percent_dose_cutoff=cutoff_percent,
        interp_fraction=10,
        max_gamma=LARGEST,
        interp_algo="scipy",  # needs no compiler
    )
    judged = values[~np.isnan(values)]
    if not judged.size:
        return Gamma(0, math.nan, math.nan)
    return Gamma(int(judged.size), 100 * float((judged <= 1).mean()), float(judged.mean()))
