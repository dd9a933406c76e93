# SPDX-License-Identifier: Apache-2.0
"""One intensity scale for all MR of a dataset: the piecewise linear map of Nyul and Udupa.

Nyul, Udupa, Zhang: New variants of a method of MRI scale standardization, IEEE TMI 19 (2000) 143-150. Landmarks of an
image are percentiles inside the body: 1, the deciles, 99. Each training image's landmarks are mapped linearly so that
its first and last one meet the ends of the standard scale; the standard landmarks are their means. An image is then
mapped piecewise linearly from its own landmarks to the standard ones; beyond the ends the outer pieces go on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfg_med.data.atomic import write_json
from sfg_med.errors import SfgMedError

SCHEMA = "sfg_med.standardisation/1"
PERCENTILES = (1.0, *(10.0 * i for i in range(1, 10)), 99.0)
SCALE = (0.0, 1000.0)
METHOD = "Nyul, Udupa, Zhang, IEEE TMI 19 (2000) 143-150; percentiles inside the body mask"


@dataclass(frozen=True)
class Standard:
    """A standard scale.

    Args:
        landmarks: intensities on the standard scale, one for each of ``PERCENTILES``, strictly rising.
        cases: names of the training cases that it was fitted on.
    """

    landmarks: tuple[float, ...]
    cases: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the landmarks, to tell which scale an image has."""
        return hashlib.sha256(json.dumps([PERCENTILES, self.landmarks]).encode()).hexdigest()

    def apply(self, image: NDArray[np.float32], own: Sequence[float]) -> NDArray[np.float32]:
        """Map an image of any shape from its own landmarks to the standard scale."""
        source, target = np.asarray(own, np.float64), np.asarray(self.landmarks)
        slopes = np.diff(target) / np.diff(source)
        piece = np.clip(np.searchsorted(source, image, side="right") - 1, 0, len(slopes) - 1)
        return (target[piece] + slopes[piece] * (image - source[piece])).astype(np.float32)


def landmarks_of(image: ArrayLike, body: ArrayLike) -> tuple[float, ...]:
    """Percentiles of an MR inside the body mask."""
    return tuple(map(float, np.percentile(np.asarray(image)[np.asarray(body) > 0], PERCENTILES)))


def check_landmarks(case: str, landmarks: Sequence[float]) -> None:
    """Refuse an image two of whose landmarks are equal: so few grey values have no scale.

    Raises:
        SfgMedError: naming the percentiles.
    """
    steps = np.diff(landmarks)
    if np.any(steps <= 0):
        pair = int(np.argmin(steps))
        found = f"percentiles {PERCENTILES[pair]:g} and {PERCENTILES[pair + 1]:g} both {landmarks[pair]:g}"
        raise SfgMedError(f"case {case}", "an MR whose percentiles inside the body differ", found, "look at the image")


def fit_standard(landmarks: Mapping[str, Sequence[float]]) -> Standard:
    """Fit a standard scale.

    Args:
        landmarks: training case to the landmarks of its MR; at least one.
    """
    values = np.array([landmarks[case] for case in sorted(landmarks)], np.float64)
    low, high = values[:, :1], values[:, -1:]
    scaled = SCALE[0] + (values - low) / (high - low) * (SCALE[1] - SCALE[0])
    return Standard(tuple(map(float, scaled.mean(axis=0))), tuple(sorted(landmarks)))


def write_standard(path: Path, standard: Standard, provenance: Mapping[str, Any]) -> None:
    """Write ``standardisation.json``."""
    facts = {
        "schema": SCHEMA,
        "method": METHOD,
        "percentiles": PERCENTILES,
        "landmarks": standard.landmarks,
        "sha256": standard.sha256,
        "training_cases": standard.cases,
        **provenance,
    }
    write_json(path, facts)


def read_standard(path: Path) -> Standard:
    """Read what :func:`write_standard` wrote.

    Raises:
        SfgMedError: for anything else.
    """
    expected = "a standardisation.json of sfg-med prepare"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        standard = Standard(tuple(map(float, facts["landmarks"])), tuple(map(str, facts["training_cases"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SfgMedError(path, expected, repr(error), "check --landmarks") from error
    if len(standard.landmarks) != len(PERCENTILES) or np.any(np.diff(standard.landmarks) <= 0):
        raise SfgMedError(path, expected, f"landmarks {standard.landmarks}", "check --landmarks")
    return standard
