# SPDX-License-Identifier: Apache-2.0
"""Statistics over cases, the trivial model, and the names of columns."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from sfg_med.metrics import (
    bootstrap_interval,
    case_dice_mean,
    columns,
    masked_mae,
    reference_in_unit,
    score_task,
    statistics,
    trivial_mae,
    voxel_counts,
)
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

CONTRACT = ["mae_hu", "psnr_db", "ssim", "ms_ssim", "mae_bone_hu"]


def test_statistics_leave_out_what_is_not_finite():
    found = statistics({"a": 1.0, "b": math.nan, "c": 4.0, "d": math.inf, "e": 2.0})
    assert found["n"] == 3
    assert (found["mean"], found["median"], found["min"], found["max"]) == pytest.approx((7 / 3, 2, 1, 4))
    assert found["std"] == pytest.approx(np.std([1, 4, 2], ddof=1))
    assert [entry["case"] for entry in found["worst"]] == ["c", "e", "a"]
    assert statistics({"a": 1.0, "c": 4.0}, better="higher", worst=1)["worst"] == [{"case": "a", "value": 1.0}]


def test_too_few_cases():
    assert statistics({"a": 5.0})["std"] is None
    assert statistics({"a": 5.0})["ci95"] is None
    empty = statistics({"a": math.nan})
    assert (empty["n"], empty["mean"], empty["worst"]) == (0, None, [])


def test_bootstrap_is_scipys_percentile_interval():
    sample = np.random.default_rng(3).gamma(2, 10, 25)
    low, high = bootstrap_interval(sample)
    expected = bootstrap((sample,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.03 * sample.std())
    assert bootstrap_interval(sample) == [low, high]
    assert bootstrap_interval(sample, seed=1) != [low, high]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_trivial_model(dtype):
    generator = np.random.default_rng(0)
    references = [generator.normal(m, 200, (9, 8, 7 + m)).astype(dtype) for m in (0, 3)]
    masks = [generator.random(image.shape) < 0.5 for image in references]
    mean, errors = trivial_mae(voxel_counts(i, m, (-1024, 3000)) for i, m in zip(references, masks, strict=True))
    pooled = np.concatenate([i[m].astype(float) for i, m in zip(references, masks, strict=True)])
    assert mean == pytest.approx(pooled.mean(), abs=0.01)
    expected = [masked_mae(np.full(i.shape, mean), i, m) for i, m in zip(references, masks, strict=True)]
    assert errors == pytest.approx(expected, abs=1e-6 if dtype is np.int16 else 0.05)


def test_contract_names():
    names = [column.name for column in columns(ModelSpec())]
    organs = ["prostate", "bladder", "rectum", "femoral_head_left", "femoral_head_right"]
    assert names == CONTRACT + [f"dice_{o}" for o in organs] + [f"hd95_mm_{o}" for o in organs]


def test_names_of_other_models_follow_their_specification():
    flair = ImageTask("flair", "a.u.", (0, 4000), 0)
    spec = ModelSpec((flair, ImageTask(), LabelTask("seg", {"tumour": 3}), LabelTask("zones", {"inner": 1})))
    names = [column.name for column in columns(spec)]
    assert names == [
        *("mae_flair", "psnr_db_flair", "ssim_flair", "ms_ssim_flair"),
        *CONTRACT,
        *("dice_tumour", "hd95_mm_tumour", "dice_zones_inner", "hd95_mm_zones_inner"),
    ]
    assert {c.name: c.unit for c in columns(spec)}["mae_flair"] == "a.u."


def test_score_task_uses_the_range_of_its_task():
    generator = np.random.default_rng(0)
    reference = generator.uniform(-500, 5000, (9, 9, 9))
    prediction = reference + generator.normal(0, 100, (9, 9, 9))
    adc = ImageTask("adc", "1e-6 mm2/s", (0, 4000), 0)
    found = score_task(ModelSpec((adc,)), adc, prediction, reference, None, (1, 1, 1))
    error = prediction.clip(0, 4000) - reference.clip(0, 4000)
    assert found["psnr_db_adc"] == pytest.approx(20 * math.log10(4000) - 10 * math.log10((error**2).mean()))
    assert set(found) == {"mae_adc", "psnr_db_adc", "ssim_adc", "ms_ssim_adc"}


def test_zscore_reference_takes_the_unit_of_predictions():
    task = ImageTask("flair", "mSD", (-5000, 5000), 0, offset=10, scale=1000, normalize="zscore")
    image = np.array([0, 0, 4.0, 8.0, 6.0, 9000.0])
    known = np.array([4.0, 8.0, 6.0, 5000.0])
    expected = (known - known.mean()) / known.std(ddof=1) * 1000 + 10
    assert reference_in_unit(task, image)[2:] == pytest.approx(expected)
    assert reference_in_unit(ImageTask(), image) is image


def test_mean_dice_of_a_case_skips_absent_organs():
    row = {"mae_hu": 30.0, "dice_a": 0.5, "dice_b": math.nan, "dice_c": 0.9, "hd95_mm_a": 3.0}
    assert case_dice_mean(row) == pytest.approx(0.7)
    assert math.isnan(case_dice_mean({"mae_hu": 1.0}))
