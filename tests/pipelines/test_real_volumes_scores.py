# SPDX-License-Identifier: Apache-2.0
"""Scores of real volumes against plain NumPy, their summary, and the halves that are fixed."""

from __future__ import annotations

import math
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.real_volumes_cases import RealCase, find_real_cases, halves
from pipelines.real_volumes_scores import (
    HEADS,
    flags_of,
    head_scores,
    hu_scores,
    is_plausible,
    organ_scores,
)
from pipelines.real_volumes_summary import spread, summarise, troubles
from pipelines.real_volumes_tables import goal_table

AFFINE = np.array([[-1.5, 0.2, 0, 40], [0.1, -2.0, 0.3, 20], [0, 0.1, 3.0, -10], [0, 0, 0, 1]])
CHOOSE = "case01 case06 case13 case14 case21 case23 case28 case30 case34 case38 case40 case43 case46"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_halves_share_out_every_group(sizes: list[int], random: Any) -> None:
    groups = {f"g{g}": [f"case{g}_{i}" for i in range(size)] for g, size in enumerate(sizes)}
    found = halves(groups)
    assert sorted(found) == sorted(name for names in groups.values() for name in names)
    counts = {
        g: [[found[n] for n in names].count(half) for half in ("choose", "report")] for g, names in groups.items()
    }
    assert all(abs(a - b) <= 1 for a, b in counts.values())
    assert abs(sum(a - b for a, b in counts.values())) <= 1
    shuffled = {g: random.sample(names, len(names)) for g, names in random.sample(list(groups.items()), len(groups))}
    assert halves(shuffled) == found, "nothing but the names counts"


@pytest.mark.shared
def test_the_halves_of_promise12_are_settled(shared_data: Path) -> None:
    """They must never change: the rule was settled before any model was scored. Names sorted by group, then hash."""
    chosen = find_real_cases(shared_data, ["promise12"], "choose")
    reported = find_real_cases(shared_data, ["promise12"], "report")
    assert " ".join(sorted(case.name for case in chosen)) == CHOOSE
    assert len(chosen) == len(reported) == 13
    assert {c.name for c in chosen}.isdisjoint(c.name for c in reported)
    assert {c.group for c in chosen} == {c.group for c in reported}


def test_organ_scores_by_numpy() -> None:
    random = np.random.default_rng(1)
    predicted, reference = random.random((2, 9, 8, 7)) > 0.6
    found = organ_scores("prostate", predicted, reference, AFFINE)
    voxel = abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    both = (predicted & reference).sum()
    assert found["dice_prostate"] == pytest.approx(2 * both / (predicted.sum() + reference.sum()))
    assert found["volume_ml_prostate"] == pytest.approx(voxel * predicted.sum())
    assert found["volume_ratio_prostate"] == pytest.approx(predicted.sum() / reference.sum())
    centres = [nib.affines.apply_affine(AFFINE, np.argwhere(mask)).mean(axis=0) for mask in (predicted, reference)]
    assert found["centroid_distance_mm_prostate"] == pytest.approx(np.linalg.norm(centres[0] - centres[1]))
    assert found["found_prostate"] == 1
    beside = organ_scores("prostate", predicted & ~reference, reference, AFFINE)
    assert beside["found_prostate"] == beside["dice_prostate"] == 0
    assert beside["volume_ml_prostate"] > 0
    nothing = organ_scores("prostate", np.zeros_like(reference), reference, AFFINE)
    assert nothing["found_prostate"] == nothing["volume_ratio_prostate"] == 0
    assert math.isnan(nothing["centroid_distance_mm_prostate"])
    assert organ_scores("bladder", predicted, None, AFFINE).keys() == {"volume_ml_bladder", "found_bladder"}


def _man() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Heads, bone and body in RAS voxels of 5 mm, the body off the middle of the image."""
    body = np.zeros((40, 20, 10), bool)
    body[2:32] = True
    heads = {head: np.zeros_like(body) for head in HEADS}
    heads["femoral_head_left"][5:10, 8:12, 3:8] = True  # x grows to the right
    heads["femoral_head_right"][24:29, 8:12, 3:8] = True
    bone = heads["femoral_head_left"] | heads["femoral_head_right"]
    bone[24] = False  # a fifth of the right one is no bone
    return heads, bone, body


def test_heads_in_any_orientation() -> None:
    heads, bone, body = _man()
    affine = np.diag([5.0, 5, 5, 1])
    affine[:3, 3] = -100, 7, 30
    for axes, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        orientation = np.array(list(zip(axes, flips, strict=True)), float)

        def turn(mask: np.ndarray, orientation: np.ndarray = orientation) -> np.ndarray:
            return nib.orientations.apply_orientation(mask, orientation)

        turned = affine @ nib.orientations.inv_ornt_aff(orientation, body.shape)
        found = head_scores({h: turn(m) for h, m in heads.items()}, turn(bone), turn(body), turned)
        assert found["heads_found"] == found["heads_on_their_sides"] == 1
        assert found["in_bone_femoral_head_left"] == 1
        assert found["in_bone_femoral_head_right"] == pytest.approx(0.8)
        assert found["volume_ml_femoral_head_left"] == pytest.approx(100 * 0.125)
        assert found["left_of_middle_mm_femoral_head_left"] == pytest.approx(5 * (16.5 - 7))
        assert found["left_of_middle_mm_femoral_head_right"] == pytest.approx(5 * (16.5 - 26))


def test_swapped_missing_and_small_heads() -> None:
    heads, bone, body = _man()
    affine = np.diag([5.0, 5, 5, 1])
    left, right = heads.values()
    assert head_scores(dict(zip(HEADS, (right, left), strict=True)), bone, body, affine)["heads_on_their_sides"] == 0
    assert head_scores(heads, bone, body, np.diag([-5.0, 5, 5, 1]))["heads_on_their_sides"] == 0
    missing = head_scores(dict(zip(HEADS, (left, np.zeros_like(left)), strict=True)), bone, body, affine)
    assert missing["heads_found"] == missing["heads_on_their_sides"] == 0
    assert math.isnan(missing["in_bone_femoral_head_right"])
    small = right.copy()
    small[:, :, 6:] = False  # 60 voxels, 7.5 ml
    assert head_scores(dict(zip(HEADS, (left, small), strict=True)), bone, body, affine)["heads_found"] == 0


def test_hu_of_tissues_by_hand() -> None:
    random = np.random.default_rng(2)
    spacing = (2.0, 3.0, 4.0)
    regions = np.ones((14, 12, 10), np.uint8)
    regions[:2], regions[9:12, 6:9, 2:5], regions[6:8, 8:, 6:] = 0, 2, 3
    muscle = random.random(regions.shape) > 0.5
    mr = np.where(muscle, 50, 400) + random.integers(-20, 20, regions.shape)
    hu = random.normal(0, 100, regions.shape).astype(np.float32)
    found = hu_scores(hu, mr, regions, 3, spacing)
    others = np.argwhere(regions != 1) * spacing
    inside = np.zeros(regions.shape, bool)
    for place in np.argwhere(regions == 1):
        inside[tuple(place)] = np.linalg.norm(others - place * spacing, axis=1).min() > 5
    expected = {
        "bone": regions == 2,
        "soft": regions == 1,
        "soft_inside": inside,
        "muscle": inside & muscle,
        "fat": inside & ~muscle,
        "bladder": regions == 3,
        "air": regions == 0,
    }
    for name, place in expected.items():
        assert found[f"hu_{name}"] == pytest.approx(hu[place].mean(), abs=1e-3), name
    assert found["bone_minus_soft_hu"] == pytest.approx(hu[regions == 2].mean() - hu[inside].mean(), abs=1e-3)


def test_flags_are_those_of_organs_in_view() -> None:
    record = {
        "flags": ["empty:bladder", "components:prostate", "no_orientation"],
        "measures": {"volume_ml_prostate": 900.0, "volume_ml_bladder": 0.0, "volume_ml_rectum": 5.0},
    }
    whole = RealCase("hipmri", "a", Path("a"), regions=True)
    assert flags_of(whole, record) == [*record["flags"], "volume:prostate", "volume:rectum"]
    part = RealCase("promise12", "b", Path("b"))
    assert flags_of(part, record) == ["components:prostate", "no_orientation", "volume:prostate"]
    assert not is_plausible(["volume:prostate"])
    assert is_plausible(["no_orientation", "fov_edge:bladder"])


def _row(case: str, dice: float, **more: Any) -> dict[str, Any]:
    half = "choose" if int(case) % 2 else "report"
    found = {"dice_prostate": dice, "found_prostate": float(dice > 0), "volume_ml_prostate": 30.0}
    names = {"set": "promise12", "case": case, "half": half, "group": "g", "error": "", "flags": "", "plausible": True}
    return {**names, **found, **more}


def test_a_failed_case_counts_as_not_found() -> None:
    failed = {k: v for k, v in _row("3", 0).items() if "prostate" not in k} | {"error": "broken"}
    rows = [_row("1", 0.9), _row("2", 0.8), failed, _row("4", 0.0), _row("5", 0.7, flags="components:prostate")]
    found = spread(rows)
    assert (found["n"], found["errors"], found["found"], found["min"]) == (5, 1, 3, 0)
    assert found["median"] == pytest.approx(np.median([0.9, 0.8, 0, 0, 0.7]))
    summary = summarise(rows)
    assert summary["goals"]["promise12_without"]["value"] == 2
    assert summary["goals"]["promise12_without"]["reached"] is False
    assert summary["goals"]["promise12_median"]["reached"] is True
    assert summary["goals"]["hipmri_bladder"]["reached"] is None
    assert [summary["promise12"][half]["n"] for half in ("all", "choose", "report")] == [5, 3, 2]
    assert [case for case, _ in troubles(rows)] == ["promise12/3", "promise12/4", "promise12/5"]
    table = goal_table({"new": {"summary": summary}})
    assert "| PROMISE12 prostate missed (no overlap) | 0 | **2** |" in table
    assert "Only 5 of PROMISE12" in table


def test_the_bladder_may_err_to_either_side() -> None:
    base = {"set": "hipmri", "case": "a", "half": "report", "group": "", "error": "", "flags": "", "plausible": True}
    for value, reached in ((-31.0, False), (-29.0, True), (30.0, True), (31.0, False)):
        assert summarise([{**base, "hu_bladder": value}])["goals"]["hipmri_bladder"]["reached"] is reached
