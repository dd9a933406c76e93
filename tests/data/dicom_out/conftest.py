# SPDX-License-Identifier: Apache-2.0
"""Results written for an oblique series, and organs with everything that is awkward about organs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sfg_med.data.dicom import Series, find_series
from sfg_med.data.dicom_out.identity import Identity
from sfg_med.data.dicom_out.results import write_results
from sfg_med.spec import ModelSpec
from tests.data.dicom.series_files import oblique_affine, write_frames, write_series

SHAPE = (60, 52, 12)
MODEL = "ab" * 32


@dataclass(frozen=True)
class Written:
    """A series and the results of it."""

    series: Series
    affine: np.ndarray
    hu: np.ndarray
    labels: np.ndarray
    folder: Path


def awkward_labels() -> np.ndarray:
    """Prostate with holes and an island, bladder in two parts, rectum of single voxels, a femur of noise."""
    x, y, z = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    labels = np.zeros(SHAPE, np.uint8)
    ball = (x - 20) ** 2 + (y - 20) ** 2 + (3 * (z - 6)) ** 2
    labels[ball < 16**2] = 1
    labels[(ball < 12**2) & (x > 20)] = 0  # a hole beside solid tissue
    labels[(x - 26) ** 2 + (y - 20) ** 2 < 9] = 1  # with an island
    labels[11:13, 18:22, 4:9] = 0  # two more holes in the same rows
    labels[15, 18:21, 4:9] = 0
    labels[40:50, 5:15, 2:6] = labels[40:50, 20:30, 4:10] = 2
    labels[40, 40, 3] = labels[42, 42, 3] = labels[43, 43, 3] = labels[44, 42, 3] = 3
    noise = np.random.default_rng(3).random(SHAPE) < 0.6
    labels[(x > 10) & (x < 36) & (y > 38) & noise] = 4
    return labels


def write_case(
    folder: Path,
    *,
    flip: bool = False,
    identity: Identity | None = None,
    spec: ModelSpec | None = None,
    frames: Sequence[int] = (),
    **more: object,
) -> Written:
    """Write a series (of one file, where an order of its frames is given) and, beside it, results of it."""
    random = np.random.default_rng(0)
    affine = oblique_affine((1.1, 1.3, 3.0), flip=flip)
    array = random.integers(0, 900, SHAPE).astype(np.uint16)
    write = partial(write_frames, order=frames) if frames else partial(write_series, **more)
    (series,) = find_series(write(folder / "in", array, affine))
    hu = random.integers(-1024, 2500, SHAPE).astype(np.int16)
    labels = awkward_labels()
    arrays = {"ct": hu, "seg": labels}
    write_results(folder / "out", series, spec or ModelSpec(), arrays, identity or Identity(), MODEL)
    return Written(series, affine, hu, labels, folder / "out")


@pytest.fixture(scope="session", params=[False, True], ids=["head first", "feet first"])
def written(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Written:
    """Not to be changed."""
    return write_case(tmp_path_factory.mktemp("case"), flip=request.param)
