# SPDX-License-Identifier: Apache-2.0
"""Volumes, means and flags of a case against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sfg_med.data.volumes import read_volume
from sfg_med.inference.measures import measure, measure_columns
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

SPEC = ModelSpec(
    tasks=(
        ImageTask(),
        LabelTask(labels={"a": 1, "b": 5}),
        ImageTask(name="adc", unit="1e-6 mm^2/s", fill=0.0),
    )
)
AFFINE = np.diag([2.0, 2.5, 4.0, 1.0])  # 0.02 ml a voxel


@pytest.fixture
def grid(save_nifti, tmp_path):
    return read_volume(save_nifti(tmp_path / "x.nii", np.arange(6000, dtype=np.int16).reshape(20, 20, 15), AFFINE))


def _volumes(grid) -> dict[str, np.ndarray]:
    seg = np.zeros(grid.array.shape, np.uint8)
    seg[3:8, 4:9, 5:9] = 1
    seg[10:12, 10:12, 10:12] = 5
    ct = np.where(seg == 1, 40, -1024).astype(np.int16)
    ct[3, 4, 5] = 140
    return {"ct": ct, "seg": seg, "adc": np.where(seg == 5, 900, 0)}


def test_numbers(grid) -> None:
    measures, flags = measure(SPEC, _volumes(grid), grid)
    assert list(measures) == [
        "volume_ml_a",
        "mean_hu_a",
        "adc_mean_1e6mm2s_a",
        "volume_ml_b",
        "mean_hu_b",
        "adc_mean_1e6mm2s_b",
    ]
    assert set(measures) == set(measure_columns(SPEC))
    assert measures["volume_ml_a"] == pytest.approx(100 * 0.02)
    assert measures["mean_hu_a"] == pytest.approx(41.0)
    assert measures["adc_mean_1e6mm2s_b"] == pytest.approx(900)
    assert flags == []


def _edge(v):
    v["seg"][0, 5, 5] = 1


def _several(v):
    v["seg"][3:8, 4:9, 12:14] = 1


def _speck(v):
    v["seg"][15, 15, 3] = 1


def _empty(v):
    v["seg"][v["seg"] == 5] = 0


def _range(v):
    v["ct"][:3, :3, :3] = 3000


def _low(v):
    v["adc"][:] = -1024


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        (_edge, {"fov_edge:a"}),
        (_several, {"components:a"}),
        (_speck, set()),
        (_empty, {"empty:b"}),
        (_range, {"range:ct"}),
        (_low, {"blank:adc", "range:adc"}),
    ],
)
def test_flags(grid, change, flag) -> None:
    volumes = _volumes(grid)
    change(volumes)
    measures, flags = measure(SPEC, volumes, grid)
    assert set(flags) == flag
    assert ("mean_hu_b" in measures) == (change is not _empty)


def test_model_without_labels(grid) -> None:
    spec = ModelSpec(tasks=(ImageTask(),))
    assert measure_columns(spec) == []
    assert measure(spec, _volumes(grid), grid) == ({}, [])
