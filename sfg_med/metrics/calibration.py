# SPDX-License-Identifier: Apache-2.0
"""Whether a prediction is as wrong as it says: z-scores of images, reliability of organ probabilities.

Everything is kept as sums over voxels, so that cases add up to a cohort without their voxels in memory together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from scipy.stats import norm

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Of the central intervals whose coverage is counted; 0.5, 0.8 and 0.95 are among them."""
Z_EDGES = tuple(round(-6 + 0.25 * i, 2) for i in range(49))
"""Of the histogram of z-scores; what lies beyond counts into the first and the last bin."""
BINS = 15
NEAR_MM = 20.0


@dataclass(frozen=True)
class _Sums:
    """Sums over voxels: fields are numbers, or tuples of them."""

    def __add__(self, other: Self) -> Self:
        left, right = asdict(self), asdict(other)
        return type(self)(
            **{
                name: tuple(np.add(value, right[name]).tolist()) if isinstance(value, tuple) else value + right[name]
                for name, value in left.items()
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave, also through JSON."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in data.items()}
        return cls(**values)


@dataclass(frozen=True)
class ZScores(_Sums):
    """(truth - prediction) / predicted standard deviation, summed over voxels; cases add up with ``+``.

    Of predictions with honest Gaussian errors z has mean 0, standard deviation 1, and an interval of 80 % holds 80 %
    of the truth. A larger deviation means too much confidence.

    Args:
        count: voxels.
        total: sum of z.
        squares: sum of z^2.
        covered: voxels inside each interval of :data:`LEVELS`.
        histogram: voxels in each bin of :data:`Z_EDGES`.
        variance: sum of the predicted variances.
        errors: sum of the squared errors.
    """

    count: int
    total: float
    squares: float
    covered: tuple[int, ...]
    histogram: tuple[int, ...]
    variance: float
    errors: float

    @classmethod
    def of(
        cls,
        prediction: ArrayLike,
        reference: ArrayLike,
        std: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        floor: float = 1e-6,
    ) -> ZScores:
        """Count one case.

        Args:
            prediction: any shape.
            reference: the truth, same shape.
            std: predicted standard deviation, same shape.
            mask: voxels that count; all by default.
            floor: smaller deviations are raised to it, so that passes that agree exactly do not divide by zero.
        """
        inside = np.ones(np.shape(reference), bool) if mask is None else np.asarray(mask) > 0
        difference = np.asarray(reference, np.float64)[inside] - np.asarray(prediction, np.float64)[inside]
        spread = np.maximum(np.asarray(std, np.float64)[inside], floor)
        z = difference / spread
        limits = norm.ppf(0.5 + 0.5 * np.array(LEVELS))
        covered = np.searchsorted(np.sort(np.abs(z)), limits, side="right")
        histogram, _ = np.histogram(np.clip(z, Z_EDGES[0], Z_EDGES[-1]), Z_EDGES)
        return cls(
            z.size,
            float(z.sum()),
            float(np.square(z).sum()),
            tuple(map(int, covered)),
            tuple(map(int, histogram)),
            float(np.square(spread).sum()),
            float(np.square(difference).sum()),
        )

    def coverage(self) -> dict[float, float]:
        """Level of each interval to the part of the voxels that lie in it."""
        return {level: hits / max(self.count, 1) for level, hits in zip(LEVELS, self.covered, strict=True)}

    def summary(self) -> dict[str, float]:
        """``z_mean``, ``z_sd``, ``coverage_50``, ``_80``, ``_95`` (parts of 1), ``rms_std``, ``rmse`` (in the unit)."""
        n = max(self.count, 1)
        mean = self.total / n
        coverage = self.coverage()
        return {
            "z_mean": mean,
            "z_sd": max(self.squares / n - mean**2, 0.0) ** 0.5,
            **{f"coverage_{round(100 * level)}": coverage[level] for level in (0.5, 0.8, 0.95)},
            "rms_std": (self.variance / n) ** 0.5,
            "rmse": (self.errors / n) ** 0.5,
        }


@dataclass(frozen=True)
class Reliability(_Sums):
    """How often what was given a probability is true, in bins of equal width; cases add up with ``+``.

    scikit-learn's ``calibration_curve`` and ``brier_score_loss`` give the same of voxels that are all in memory.

    Args:
        counts: voxels in each of :data:`BINS` bins.
        probabilities: sum of the probabilities in each bin.
        hits: voxels of each bin where it was true.
        squares: sum of (probability - truth)^2.
    """

    counts: tuple[int, ...]
    probabilities: tuple[float, ...]
    hits: tuple[int, ...]
    squares: float

    @classmethod
    def of(cls, probability: ArrayLike, truth: ArrayLike, mask: ArrayLike | None = None) -> Reliability:
        """Count one case.

        Args:
            probability: 0 to 1, any shape.
            truth: same shape.
            mask: voxels that count; all by default.
        """
        inside = np.ones(np.shape(truth), bool) if mask is None else np.asarray(mask) > 0
        p = np.clip(np.asarray(probability, np.float64)[inside], 0, 1)
        y = np.asarray(truth)[inside] > 0
        place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
        counts, hits = np.bincount(place, minlength=BINS), np.bincount(place[y], minlength=BINS)
        sums = np.bincount(place, weights=p, minlength=BINS)
        squares = float(np.square(p - y).sum())
        return cls(tuple(map(int, counts)), tuple(map(float, sums)), tuple(map(int, hits)), squares)

    @property
    def count(self) -> int:
        """Voxels."""
        return sum(self.counts)

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of probability and frequency over the voxels; NaN without any."""
        gaps = np.abs(np.subtract(self.probabilities, self.hits))
        return float(gaps.sum() / self.count) if self.count else float("nan")

    @property
    def brier(self) -> float:
        """Brier score: mean of (probability - truth)^2; NaN without voxels."""
        return self.squares / self.count if self.count else float("nan")

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean probability and frequency of the bins that hold voxels."""
        counts = np.array(self.counts)
        held = counts > 0
        return np.array(self.probabilities)[held] / counts[held], np.array(self.hits)[held] / counts[held]


def near_organ(truth: NDArray[Any], spacing_mm: tuple[float, ...], distance_mm: float = NEAR_MM) -> NDArray[np.bool_]:
    """Voxels that an organ's reliability is counted in: it and what lies around it, the same for all models.

    Over the whole body the many voxels that are surely no organ hide all errors.

    Args:
        truth: (X, Y, Z), where the organ is; nowhere is nowhere near.
        spacing_mm: voxel size.
        distance_mm: how far around the organ.
    """
    organ = np.asarray(truth) > 0
    near = np.zeros(organ.shape, bool)
    if organ.any():
        reach = [int(np.ceil(distance_mm / s)) + 1 for s in spacing_mm]
        edges = zip(np.nonzero(organ), reach, strict=True)
        box = tuple(slice(max(int(place.min()) - r, 0), int(place.max()) + r + 1) for place, r in edges)
        near[box] = distance_transform_edt(~organ[box], sampling=spacing_mm) <= distance_mm
    return near
