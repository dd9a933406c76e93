# SPDX-License-Identifier: Apache-2.0
"""Many men: volumes as published, every extreme a whole man, coil and implant in all images."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt, label

from sfg_med.data.simulation import TISSUE_NAMES, SimulatedCase, simulate_case
from sfg_med.data.simulation.case import simulate_man
from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Streams
from sfg_med.data.simulation.population import COILS, RANGES, SIDES, draw_man
from sfg_med.spec import PELVIS_LABELS

NUMBER = {name: i for i, name in enumerate(TISSUE_NAMES)}


def _simulate(seed: int, changes: dict[str, Any], mm: float = 6.0, view: str = "standard") -> SimulatedCase:
    streams = Streams((seed,))
    return simulate_man(replace(draw_man(streams), **changes), streams, (mm, mm, mm), view)


def _check(case: SimulatedCase) -> None:
    """Every organ in one piece inside the body, the prostate off the bones, the rectum before the sacrum."""
    assert label(case.mask)[1] == 1
    inner = binary_erosion(case.mask, border_value=1)
    for name, value in PELVIS_LABELS.items():
        organ = case.seg == value
        assert label(organ)[1] == 1, name
        assert inner[organ].all(), name
    anatomy, volume = case.parameters["anatomy"], case.parameters["volume_ml"]
    # bone, painted last, would cut a piece off
    assert 0.6 < volume["prostate"] / anatomy["prostate_ml"] < 1.45
    middle = int(np.argwhere(case.seg == PELVIS_LABELS["prostate"]).mean(axis=0)[0])
    bone = case.tissue[middle] == NUMBER["cortical_bone"]
    rectum = case.seg[middle] == PELVIS_LABELS["rectum"]
    for z in np.flatnonzero(rectum.any(axis=0) & bone.any(axis=0)):
        behind = np.flatnonzero(bone[:, z])
        behind = behind[behind < np.flatnonzero(rectum[:, z]).mean()]
        if len(behind):
            assert np.flatnonzero(rectum[:, z]).min() > behind.min(), z


@pytest.fixture(scope="module")
def volumes() -> NDArray[np.float64]:
    """Prostate, bladder, rectum and femoral heads (ml) of sixty men."""
    cases = [simulate_case(seed, (6.0, 6.0, 6.0)) for seed in range(1000, 1060)]
    for case in cases:
        _check(case)
    return np.array([list(case.parameters["volume_ml"].values()) for case in cases])


@pytest.mark.slow
def test_volumes_are_those_of_men(volumes: NDArray[np.float64]) -> None:
    ranges = {
        "prostate": ((12, 25), (30, 50), (65, 130)),  # Sellers 2021
        "bladder": ((25, 80), (110, 220), (350, 750)),  # Cramp 2016; after voiding, PMC2722659
        "rectum": ((20, 60), (60, 120), (130, 320)),
        "femoral_head_left": ((33, 55), (50, 72), (65, 105)),
        "femoral_head_right": ((33, 55), (50, 72), (65, 105)),
    }
    assert list(ranges) == list(PELVIS_LABELS)
    for (name, limits), found in zip(ranges.items(), np.percentile(volumes, (5, 50, 95), axis=0).T, strict=True):
        for (low, high), value in zip(limits, found, strict=True):
            assert low < value < high, (name, found)


def test_drawn_men_stay_in_their_ranges_and_reach_most_of_them() -> None:
    men = [asdict(draw_man(Streams((seed,)))) for seed in range(300)]
    for name, (low, high) in RANGES.items():
        values = np.array([man[name] for man in men])
        assert low <= values.min(), name
        assert values.max() <= high, name
        assert np.ptp(values) > 0.5 * (high - low), name
    for name in ("endorectal_coil", "hip_implant"):
        assert 0.02 < np.mean([bool(man[name]) for man in men]) < 0.12
    assert {man["endorectal_coil"] for man in men} == {"", *COILS}
    assert {man["hip_implant"] for man in men} == {"", *SIDES}
    prostates = np.array([man["prostate_ml"] for man in men])
    assert 0.03 < np.mean(prostates > 87.5) < 0.13  # 17 of 204 in Sellers 2021


def _extremes() -> list[tuple[str, Any]]:
    lengths = {f.name: f.type for f in fields(Man)}
    result: list[tuple[str, Any]] = [(n, 6) for n in ("calcifications", "phleboliths", "nodes")]
    for name, limits in RANGES.items():
        for limit in limits:
            size = 3 if "Triple" in str(lengths[name]) else 2 if "tuple" in str(lengths[name]) else 1
            result.append((name, limit if size == 1 else (limit,) * size))
    return result


@pytest.mark.parametrize(("name", "value"), _extremes(), ids=str)
def test_every_extreme_is_a_whole_man(name: str, value: Any) -> None:
    coil = {"endorectal_coil": "gas"} if name == "balloon_ml" else {}
    _check(_simulate(3, {name: value} | coil, mm=8.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"prostate_ml": 150.0, "bladder_ml": 700.0, "ampulla_mm": 32.0, "median_lobe": 1.0},
        {"prostate_ml": 150.0, "bladder_ml": 20.0, "tilt_deg": 10.0, "endorectal_coil": "gas", "balloon_ml": 100.0},
        {"prostate_ml": 15.0, "bladder_ml": 20.0, "ampulla_mm": 9.5, "tilt_deg": -10.0, "scale": (0.88, 0.88, 0.88)},
        {"fat_mm": 60.0, "belly": 1.3, "scale": (1.14, 1.14, 1.14), "turn_deg": (5.0, 5.0), "warp_mm": 6.5},
        {"fat_mm": 5.0, "belly": 0.6, "muscle_mm": 0.5, "version_deg": 40.0, "femoral_offset_mm": 53.0, "warp_mm": 6.5},
    ],
    ids=lambda c: "-".join(c),
)
def test_combined_extremes_are_whole_men(changes: dict[str, Any]) -> None:
    for seed in (4, 5):
        _check(_simulate(seed, changes))


@pytest.mark.parametrize("filling", COILS)
def test_endorectal_coil(filling: str) -> None:
    changes = {"endorectal_coil": filling, "balloon_ml": 80.0, "prostate_ml": 50.0, "rectal_gas": 1.6}
    case, without = _simulate(2, changes, 3.0), _simulate(2, changes | {"endorectal_coil": ""}, 3.0)
    # stool holds no perfluorocarbon and, with the level above it, no gas
    balloon = (case.tissue == NUMBER[filling]) & (case.seg == PELVIS_LABELS["rectum"])
    core = binary_erosion(balloon, iterations=2)
    assert 55 < balloon.sum() * 0.027 < 90
    assert np.median(case.mr[core]) < 0.2 * np.median(case.mr[case.mask > 0])
    assert np.median(case.ct[core]) == pytest.approx(-960 if filling == "gas" else 650, abs=15)
    prostate = case.seg == PELVIS_LABELS["prostate"]
    distance = distance_transform_edt(~balloon, sampling=3.0)
    assert distance[prostate].min() < 9
    assert case.parameters["volume_ml"]["prostate"] == pytest.approx(
        without.parameters["volume_ml"]["prostate"], rel=0.1
    )
    # pressed flat, and brighter the nearer: relative to the same man's tissue without the coil
    assert np.ptp(np.argwhere(prostate)[:, 1]) < np.ptp(np.argwhere(without.seg == PELVIS_LABELS["prostate"])[:, 1])
    same = (case.tissue == without.tissue) & (case.tissue == NUMBER["fat"])
    gain = case.mr / np.maximum(without.mr, 1)
    near, far = same & (distance < 10), same & (distance > 90)
    assert np.median(gain[near]) > 1.5
    assert np.median(gain[far]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("side", SIDES)
def test_hip_implant(side: str) -> None:
    case, without = _simulate(6, {"hip_implant": side}, 3.0), _simulate(6, {"hip_implant": ""}, 3.0)
    metal = case.tissue == NUMBER["metal"]
    x = np.argwhere(metal)[:, 0].mean() * 3.0 + case.affine[0, 3]
    assert (x > case.affine[:3, 3].mean()) == (side == "right") or abs(x) > 60
    assert (x - np.argwhere(case.seg == 1)[:, 0].mean() * 3.0 - case.affine[0, 3] > 50) == (side == "right")
    name = f"femoral_head_{side}"
    np.testing.assert_array_equal(case.seg == PELVIS_LABELS[name], without.seg == PELVIS_LABELS[name])
    assert metal[binary_erosion(case.seg == PELVIS_LABELS[name])].all()
    assert (case.ct[binary_erosion(metal)] == 3000).mean() > 0.9
    assert case.ct.max() == 3000
    fat = np.median(without.mr[without.tissue == NUMBER["fat"]])
    around = binary_dilation(metal) & ~metal & (without.mr > 0.5 * fat)
    assert around.sum() > 50
    assert np.median(case.mr[around]) < 0.3 * np.median(without.mr[around])  # the void is larger than the metal
    other = case.seg == PELVIS_LABELS["femoral_head_left" if side == "right" else "femoral_head_right"]
    np.testing.assert_array_equal(case.mr[other], without.mr[other])


def test_whole_field_of_view_reaches_past_ischia_and_crests_and_is_the_same_man() -> None:
    whole, standard = simulate_case(7, (6.0, 6.0, 6.0), "whole"), simulate_case(7, (6.0, 6.0, 6.0))
    heads = np.argwhere(whole.seg >= PELVIS_LABELS["femoral_head_left"])[:, 2]
    below, above = heads.mean() * 6.0, (whole.seg.shape[2] - heads.mean()) * 6.0
    assert 115 < below < 150
    assert 120 < above < 160
    for k in range(whole.seg.shape[2]):  # no part ends before the field of view does
        names = {TISSUE_NAMES[i] for i in np.unique(whole.tissue[:, :, k])}
        assert {"skin", "fat", "muscle", "cortical_bone"} <= names, k
    top = whole.tissue[:, :, -1]
    assert {NUMBER["csf"], NUMBER["cortical_bone"]} <= set(np.unique(top))  # lumbar spine
    for name in PELVIS_LABELS:
        assert whole.parameters["volume_ml"][name] == pytest.approx(standard.parameters["volume_ml"][name], rel=0.06)
