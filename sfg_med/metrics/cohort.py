# SPDX-License-Identifier: Apache-2.0
"""Statistics of a metric over the cases of a cohort, and the trivial model that it should beat."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

RESAMPLES = 10_000


def statistics(
    values: Mapping[str, float], *, better: str | float = "lower", worst: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Describe one metric over the cases.

    Args:
        values: case name to value; cases that are NaN or infinite are left out.
        better: ``"lower"``, ``"higher"`` or the best value: what is farthest from it is the worst.
        worst: number of worst cases to name.
        seed: of the bootstrap.

    Returns:
        ``n``, ``mean``, ``std`` (of the sample), ``median``, ``min``, ``max``, ``ci95`` of the mean
        (percentile bootstrap over the cases) and ``worst``. ``None`` stands where too few cases are left:
        one is needed, two for ``std`` and ``ci95``.
    """
    finite = {case: float(value) for case, value in values.items() if math.isfinite(value)}
    sample = np.array(list(finite.values()))
    if not sample.size:
        return {"n": 0, **dict.fromkeys(("mean", "std", "median", "min", "max", "ci95")), "worst": []}
    ranked = sorted(finite.items(), key=lambda item: badness(item[1], better), reverse=True)
    return {
        "n": int(sample.size),
        "mean": float(sample.mean()),
        "std": float(sample.std(ddof=1)) if sample.size > 1 else None,
        "median": float(np.median(sample)),
        "min": float(sample.min()),
        "max": float(sample.max()),
        "ci95": bootstrap_interval(sample, seed=seed) if sample.size > 1 else None,
        "worst": [{"case": case, "value": value} for case, value in ranked[:worst]],
    }


def badness(value: float, better: str | float) -> float:
    """A number that grows the worse a metric's value is."""
    if isinstance(better, str):
        return value if better == "lower" else -value
    return abs(value - better)


def rank_cases(metrics: Mapping[str, tuple[Mapping[str, float], str | float]]) -> list[dict[str, Any]]:
    """Cases by their errors, worst first: by the mean of their ranks in several metrics (1 is the worst).

    Args:
        metrics: name to the values by case and to what is better; a case counts in the metrics that it has.

    Returns:
        ``case``, ``mean_rank`` and the values, ``None`` where there is none; cases without any value are left out.
    """
    ranks: dict[str, list[float]] = {}
    for values, better in metrics.values():
        known = {case: -badness(value, better) for case, value in values.items() if math.isfinite(value)}
        for case, rank in zip(known, rankdata(list(known.values())) if known else [], strict=True):
            ranks.setdefault(case, []).append(float(rank))
    rows: list[dict[str, Any]] = []
    for case, found in ranks.items():
        values_of_case = {name: values.get(case, math.nan) for name, (values, _) in metrics.items()}
        shown = {name: v if math.isfinite(v) else None for name, v in values_of_case.items()}
        rows.append({"case": case, "mean_rank": sum(found) / len(found), **shown})
    return sorted(rows, key=lambda row: (row["mean_rank"], row["case"]))


def bootstrap_interval(
    sample: ArrayLike, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[float]:
    """Percentile interval ``[low, high]`` of the mean, from draws of whole cases with replacement."""
    numbers = np.asarray(sample, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = numbers[generator.integers(numbers.size, size=(resamples, numbers.size))].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return [float(low), float(high)]


def voxel_counts(
    reference: ArrayLike, mask: ArrayLike | None, value_range: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Count each distinct value of a reference inside its mask: all that the trivial model needs.

    Integers are kept exactly; other numbers are rounded to 1/65536 of ``value_range``.
    """
    image = np.asarray(reference)
    inside = image[np.asarray(mask) > 0] if mask is not None else image.ravel()
    step = 1.0 if inside.dtype.kind in "iu" else (value_range[1] - value_range[0]) / 65536
    values, counts = np.unique(np.rint(inside / step), return_counts=True)
    return values * step, counts


def trivial_mae(cases: Iterable[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> tuple[float, list[float]]:
    """Score the model that answers the cohort's mean value everywhere inside the body.

    Args:
        cases: what :func:`voxel_counts` gives for each case.

    Returns:
        The cohort's mean over all voxels, and the mean absolute error that predicting it has in each case.
    """
    histograms = list(cases)
    total = sum(int(counts.sum()) for _, counts in histograms)
    mean = sum(float(values @ counts) for values, counts in histograms) / total if total else math.nan
    return mean, [float(np.abs(values - mean) @ counts / counts.sum()) for values, counts in histograms]
