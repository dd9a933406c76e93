# SPDX-License-Identifier: Apache-2.0
"""The further columns against loops, all pairwise distances and scikit-learn."""

import math

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from sfg_med.metrics import Detail, columns, detail_columns, organ_surface_dice, rank_cases, statistics, tissue_mae
from sfg_med.metrics.calibration import ZScores
from sfg_med.metrics.detail import score_entropy, score_parts, score_shapes, score_spread
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

SPEC = ModelSpec((ImageTask(), LabelTask(labels={"liver": 3, "gap": 4})))
SHAPE = (9, 8, 7)


def _images(seed=0):
    generator = np.random.default_rng(seed)
    reference = generator.integers(-1000, 1200, SHAPE).astype(np.int16)
    prediction = (reference + generator.normal(0, 90, SHAPE)).astype(np.int16)
    mask = np.ones(SHAPE, np.uint8)
    mask[0], mask[3:5, 3:5, 3:5] = 0, 0  # with a hole
    return prediction, reference, mask


def test_tissues_by_the_values_of_the_reference():
    prediction, reference, mask = _images()
    found = tissue_mae(prediction, reference, mask)
    sums = {"air": [], "soft_tissue": []}
    for index in np.ndindex(SHAPE):
        value = int(reference[index])
        if mask[index] and value <= 150:
            sums["air" if value <= -200 else "soft_tissue"].append(abs(int(prediction[index]) - value))
    assert found == {name: pytest.approx(np.mean(values), rel=1e-4) for name, values in sums.items()}
    assert math.isnan(tissue_mae(prediction, np.full(SHAPE, 40), mask)["air"])
    edge = np.full(SHAPE, -200)
    assert tissue_mae(edge + 5, edge)["air"] == 5  # the upper end belongs to a tissue, the lower one does not
    assert tissue_mae(edge + 5, edge, tissues={"odd": (-300, -100), "none": (-200, 0)})["odd"] == 5


def test_error_by_organ():
    prediction, reference, mask = _images()
    organs = np.zeros(SHAPE, np.uint8)
    organs[2:6, 2:6, 2:6] = 3
    found = score_parts(SPEC, Detail(), prediction, reference, mask, {"seg": organs})
    inside = (organs == 3) & (mask > 0)
    assert inside.sum() == 56
    expected = np.abs(prediction.astype(float) - reference)[inside].mean()
    assert found["mae_hu_liver"] == pytest.approx(expected, rel=1e-4)
    assert math.isnan(found["mae_hu_gap"])
    assert "mae_hu_liver" not in score_parts(SPEC, Detail(), prediction, reference, mask, {})


def _slow_surface_dice(prediction, reference, spacing, tolerance):
    surfaces = [np.argwhere(m & ~binary_erosion(m)) * np.array(spacing) for m in (prediction, reference)]
    distances = cdist(*surfaces)
    near = [(distances.min(axis=axis) <= tolerance).sum() for axis in (1, 0)]
    return sum(near) / sum(distances.shape)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.1, 3.5)])
@pytest.mark.parametrize("tolerance", [0.9, 1.5, 2.0])
def test_surface_dice_is_the_part_of_surfaces_that_is_near(spacing, tolerance):
    generator = np.random.default_rng(4)
    reference = np.zeros((12, 14, 9), bool)
    reference[2:9, 3:11, 2:7], reference[4:6, 5:8, 4] = True, False  # with a hole
    prediction = np.roll(reference, 2, 1) & (generator.random(reference.shape) > 0.05)
    found = organ_surface_dice(prediction, reference, spacing, tolerance)
    assert found == pytest.approx(_slow_surface_dice(prediction, reference, spacing, tolerance), rel=1e-4)
    assert 0 < found < 1


def test_surface_dice_of_absent_organs():
    organ, nothing = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    assert math.isnan(organ_surface_dice(organ, nothing, (1, 1, 1), 2))
    assert organ_surface_dice(nothing, organ, (1, 1, 1), 2) == 0
    assert organ_surface_dice(organ, organ, (1, 1, 1), 0) == 1


def test_volumes_in_ml_and_percent():
    reference, prediction = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
    reference[:4, :5, :2], prediction[:5, :5, :2] = 3, 3
    prediction[8, 7, 6] = 4
    found = score_shapes(SPEC, Detail(), SPEC.label_tasks[0], prediction, reference, (2, 2, 3), 0.012)
    assert found["volume_diff_ml_liver"] == pytest.approx(10 * 0.012)
    assert found["volume_diff_percent_liver"] == pytest.approx(25)
    assert all(math.isnan(v) for name, v in found.items() if name.endswith("gap"))


def test_entropy_tells_wrong_from_right_as_scikit_learn_says():
    generator = np.random.default_rng(1)
    _, _, mask = _images()
    wrong = generator.random(SHAPE) < 0.2
    entropy = np.round(generator.random(SHAPE) + 0.4 * wrong, 1)  # with ties
    found = score_entropy(SPEC, SPEC.label_tasks[0], entropy, wrong, mask)
    assert found == {"error_auroc": pytest.approx(roc_auc_score(wrong[mask > 0], entropy[mask > 0]), rel=1e-4)}
    assert math.isnan(score_entropy(SPEC, SPEC.label_tasks[0], entropy, np.zeros(SHAPE, bool), None)["error_auroc"])


def test_columns_follow_the_contracts_and_are_what_is_scored():
    detail = Detail({"air": (-math.inf, -200)}, 1.5, ("ct_std", "seg_entropy"))
    names = [column.name for column in detail_columns(SPEC, detail)]
    assert names[:3] == ["mae_air_hu", "mae_hu_liver", "mae_hu_gap"]
    assert not set(names) & {column.name for column in columns(SPEC)}
    prediction, reference, mask = _images()
    labels, image, task = np.zeros(SHAPE, int), SPEC.image_tasks[0], SPEC.label_tasks[0]
    scored = score_parts(SPEC, detail, prediction, reference, mask, {"seg": labels})
    scored |= score_shapes(SPEC, detail, task, labels, labels, (1, 1, 1), 0.001)
    z = ZScores.of(prediction, reference, np.full(SHAPE, 90.0), mask)
    scored |= score_spread(SPEC, image, z) | score_entropy(SPEC, task, labels, labels > 0, mask)
    assert set(scored) == set(names)
    assert "surface_dice_1.5mm_liver" in names
    assert {c.name for c in detail_columns(SPEC, Detail())} >= {"surface_dice_2mm_liver", "mae_soft_tissue_hu"}
    errors = (reference.astype(float) - prediction)[mask > 0] / 90
    assert scored["z_sd"] == pytest.approx(errors.std(), rel=1e-4)
    assert scored["coverage_95"] == pytest.approx(np.mean(np.abs(errors) <= 1.959964), rel=1e-4)


def test_the_worst_of_a_target_is_the_farthest():
    found = statistics({"a": -30.0, "b": 10.0, "c": 1.0}, better=0.0)
    assert [row["case"] for row in found["worst"]] == ["a", "b", "c"]


def test_cases_are_ranked_by_all_their_errors():
    mae = {"a": 10.0, "b": 50.0, "c": 30.0, "d": math.nan}
    dice = {"a": 0.9, "b": 0.2, "c": 0.9, "d": 0.5, "e": math.nan}
    found = rank_cases({"mae_hu": (mae, "lower"), "dice_mean": (dice, "higher")})
    assert [(row["case"], row["mean_rank"]) for row in found] == [("b", 1.0), ("d", 2.0), ("c", 2.75), ("a", 3.25)]
    assert found[1] == {"case": "d", "mean_rank": 2.0, "mae_hu": None, "dice_mean": 0.5}
