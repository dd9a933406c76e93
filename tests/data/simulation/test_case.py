# SPDX-License-Identifier: Apache-2.0
"""A simulated man: geometry, determinism, anatomy, intensities."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, label

from sfg_med.data.simulation import TISSUE_NAMES, SimulatedCase, simulate_case
from sfg_med.errors import SfgMedError
from sfg_med.spec import PELVIS_LABELS

SEEDS = range(20)


@pytest.fixture(scope="module")
def cohort() -> list[SimulatedCase]:
    """Twenty men on a coarse grid."""
    return [simulate_case(seed, (6.0, 6.0, 6.0)) for seed in SEEDS]


@pytest.fixture(scope="module")
def man() -> SimulatedCase:
    """One man at the usual voxel size."""
    return simulate_case(1)


def _centre(case: SimulatedCase, name: str) -> np.ndarray:
    voxels = np.argwhere(case.seg == PELVIS_LABELS[name])
    return nib.affines.apply_affine(case.affine, voxels).mean(axis=0)


def test_arrays_share_one_grid_of_usual_size(man: SimulatedCase) -> None:
    types = {"mr": "int16", "ct": "int16", "seg": "uint8", "mask": "uint8", "tissue": "uint8"}
    for name, dtype in types.items():
        array = getattr(man, name)
        assert array.dtype == dtype
        assert array.shape == man.mr.shape
    extent = np.array(man.mr.shape) * 3.0
    assert (extent > (350, 220, 180)).all()
    assert (extent < (450, 320, 230)).all()
    assert nib.aff2axcodes(man.affine) == ("R", "A", "S")
    np.testing.assert_allclose(nib.affines.voxel_sizes(man.affine), 3.0)
    assert (np.abs(nib.affines.apply_affine(man.affine, extent / 6)) < 100).all()


def test_same_seed_same_bytes(man: SimulatedCase) -> None:
    again = simulate_case(1)
    for name in ("mr", "ct", "seg", "mask", "tissue", "affine"):
        assert getattr(man, name).tobytes() == getattr(again, name).tobytes()
    assert man.parameters == again.parameters


def test_seeds_differ(cohort: list[SimulatedCase]) -> None:
    volumes = [tuple(case.parameters["volume_ml"].values()) for case in cohort]
    assert len(set(volumes)) == len(volumes)
    assert simulate_case((1, 0), (8, 8, 8)).mr.tobytes() != simulate_case((1, 1), (8, 8, 8)).mr.tobytes()


def test_every_organ_is_there_in_one_piece_inside_the_body(cohort: list[SimulatedCase]) -> None:
    for seed, case in zip(SEEDS, cohort, strict=True):
        assert sorted(np.unique(case.seg)) == [0, 1, 2, 3, 4, 5], seed
        assert label(case.mask)[1] == 1, seed
        inner = binary_erosion(case.mask, border_value=1)  # a full bladder may reach the upper end
        for name, value in PELVIS_LABELS.items():
            organ = case.seg == value
            assert label(organ)[1] == 1, (seed, name)
            assert inner[organ].all(), (seed, name)


def test_recorded_volumes_are_those_of_the_labels(cohort: list[SimulatedCase]) -> None:
    for case in cohort:
        for name, value in PELVIS_LABELS.items():
            counted = (case.seg == value).sum() * 0.216
            assert case.parameters["volume_ml"][name] == pytest.approx(counted, abs=0.01)


def test_organs_lie_where_they_belong(cohort: list[SimulatedCase]) -> None:
    for case in cohort:
        at = {name: _centre(case, name) for name in PELVIS_LABELS}
        # RAS: x grows to the patient's right, y forward, z upward.
        assert at["femoral_head_left"][0] < at["prostate"][0] < at["femoral_head_right"][0]
        assert 150 < at["femoral_head_right"][0] - at["femoral_head_left"][0] < 205
        assert at["bladder"][2] > at["prostate"][2] + 15
        assert at["rectum"][1] < at["prostate"][1] - 15


def test_femoral_heads_are_spheres(man: SimulatedCase) -> None:
    for name in ("femoral_head_left", "femoral_head_right"):
        voxels = np.argwhere(man.seg == PELVIS_LABELS[name]) * 3.0
        radius = (len(voxels) * 27 * 3 / 4 / np.pi) ** (1 / 3)
        distance = np.linalg.norm(voxels - voxels.mean(axis=0), axis=1)
        assert distance.max() < radius + 4.0


def test_another_spacing_is_the_same_man(man: SimulatedCase) -> None:
    coarse, fine, thick = man, simulate_case(1, (2, 2, 2)), simulate_case(1, (3, 3, 6))
    assert thick.mr.shape == (*coarse.mr.shape[:2], pytest.approx(coarse.mr.shape[2] / 2, abs=0.6))
    for name in PELVIS_LABELS:
        reference = fine.parameters["volume_ml"][name]
        assert coarse.parameters["volume_ml"][name] == pytest.approx(reference, rel=0.04), name
        assert thick.parameters["volume_ml"][name] == pytest.approx(reference, rel=0.05), name
        np.testing.assert_allclose(_centre(coarse, name), _centre(fine, name), atol=0.8)
        np.testing.assert_allclose(_centre(thick, name), _centre(fine, name), atol=1.0)


def test_ct_numbers_of_tissues(cohort: list[SimulatedCase], man: SimulatedCase) -> None:
    for case in cohort:
        outside = ~binary_dilation(case.mask, iterations=2)
        assert np.median(case.ct[outside]) == pytest.approx(-1000, abs=15)
        assert np.percentile(case.ct[outside], 99.5) < -950
    inside = man.ct[binary_erosion(man.mask, iterations=2)]
    counts, edges = np.histogram(inside, bins=np.arange(-200, 200, 4))
    middles = edges[:-1] + 2
    fat = middles[np.argmax(np.where(middles < -40, counts, 0))]
    muscle = middles[np.argmax(np.where(middles > 20, counts, 0))]
    assert -115 <= fat <= -85
    assert 40 <= muscle <= 70
    means = {n: man.ct[binary_erosion(man.seg == v, iterations=2)].mean() for n, v in PELVIS_LABELS.items()}
    assert 0 <= means["bladder"] <= 20
    assert 25 <= means["prostate"] <= 60
    assert 120 <= means["femoral_head_left"] <= 600
    assert 800 <= np.percentile(inside, 99.8) <= 1600


def test_mr_contrast(man: SimulatedCase) -> None:
    inside = binary_erosion(man.mask, iterations=2)
    muscle = np.median(man.mr[inside & (np.abs(man.ct - 56) < 8) & (man.seg == 0)])
    fat = np.median(man.mr[inside & (np.abs(man.ct + 102) < 10)])
    bladder = np.median(man.mr[binary_erosion(man.seg == PELVIS_LABELS["bladder"], iterations=2)])
    bone = np.median(man.mr[inside & (man.ct > 1000)])
    gas = np.median(man.mr[binary_erosion(man.ct < -700) & inside])
    assert bladder > fat > 2 * muscle
    assert bone < 0.6 * muscle  # dark, ...
    assert gas < 0.6 * muscle  # ... and so is gas: only CT tells them apart


def test_mr_background_is_rician(man: SimulatedCase) -> None:
    outside = man.mr[~binary_dilation(man.mask, iterations=2)].astype(float)
    assert outside.mean() / outside.std() == pytest.approx(1.913, rel=0.03)


def test_tissue_map_says_what_dominates_each_voxel(man: SimulatedCase) -> None:
    number = {name: i for i, name in enumerate(TISSUE_NAMES)}
    assert TISSUE_NAMES[:3] == ("air", "gas", "skin")
    np.testing.assert_array_equal(man.tissue == number["air"], man.mask == 0)
    inner = {n: np.unique(man.tissue[binary_erosion(man.seg == v, iterations=2)]) for n, v in PELVIS_LABELS.items()}
    assert set(inner["bladder"]) == {number["urine"]}
    assert set(inner["prostate"]) <= {
        number[n] for n in ("peripheral_zone", "transition_zone", "stroma", "mucosa", "calcification")
    }
    assert set(inner["femoral_head_left"]) <= {number["yellow_marrow"], number["red_marrow"]}
    for name, low, high in (("fat", -110, -70), ("muscle", 25, 65), ("gas", -1024, -700)):
        core = binary_erosion(man.tissue == number[name])
        assert low < np.median(man.ct[core]) < high, name


def test_tissues_of_thick_voxels_are_those_of_most_of_their_parts(man: SimulatedCase) -> None:
    thick = simulate_case(1, (3, 3, 9))
    counted = np.bincount(thick.tissue.ravel(), minlength=len(TISSUE_NAMES)) * 3
    expected = np.bincount(man.tissue.ravel(), minlength=len(TISSUE_NAMES))
    for name in ("fat", "muscle", "urine", "yellow_marrow"):
        i = TISSUE_NAMES.index(name)
        assert counted[i] == pytest.approx(expected[i], rel=0.12), name


@pytest.mark.parametrize("spacing", [(-3, 3, 3), (0, 3, 3), (3, 3), (float("nan"), 3, 3), (0.1, 0.1, 0.1)])
def test_impossible_spacing(spacing: tuple[float, ...]) -> None:
    with pytest.raises(SfgMedError, match="spacing"):
        simulate_case(0, spacing)


@pytest.mark.parametrize("seed", [-1, (), (3, -2)])
def test_impossible_seed(seed: int) -> None:
    with pytest.raises(SfgMedError, match="seed"):
        simulate_case(seed, (8, 8, 8))
