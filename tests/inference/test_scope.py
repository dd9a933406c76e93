# SPDX-License-Identifier: Apache-2.0
"""What is no MR of a pelvis stands out by its values, its size, and where its organs seem to lie."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfg_med.data.simulation import simulate_case
from sfg_med.data.volumes import Volume
from sfg_med.inference.measures import measure
from sfg_med.inference.plausible import read_limits
from sfg_med.inference.scope import input_measures
from sfg_med.spec import ModelSpec


def _volume(array: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(array, affine, nib.Nifti1Header(), array.shape, Path("input"))


def _cylinder(width: float, depth: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """600 x 450 x 120 mm with an elliptic cylinder through it; the oracle of both extents."""
    x, y, _ = np.meshgrid(
        *(np.arange(0, end, s) for end, s in zip((600, 450, 120), spacing, strict=True)), indexing="ij"
    )
    inside = ((x - 300) / (width / 2)) ** 2 + ((y - 220) / (depth / 2)) ** 2 < 1
    return (100.0 * inside + 3).astype(np.float32)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_body_is_measured_along_the_patients_axes(order: tuple[int, int, int]) -> None:
    spacing = (2.0, 2.5, 4.0)
    array = _cylinder(380, 230, spacing).transpose(order)
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(spacing) @ np.eye(3))[:, order]
    found = input_measures(_volume(array, affine))
    assert found["input_body_width_mm"] == pytest.approx(380, abs=14)
    assert found["input_body_depth_mm"] == pytest.approx(230, abs=14)
    assert found["input_negative_percent"] == 0
    cut = array[tuple(slice(30, 60) if axis == 0 else slice(None) for axis in order)]
    assert "input_body_width_mm" not in input_measures(_volume(cut, affine)), "the body reaches both ends"


def test_hounsfield_units_and_noise() -> None:
    man = simulate_case(1, (10.0, 10.0, 10.0), "whole")
    assert input_measures(_volume(man.ct, man.affine))["input_negative_percent"] > 30
    assert input_measures(_volume(man.mr, man.affine))["input_negative_percent"] == 0
    assert input_measures(_volume(np.zeros((5, 5, 5), np.float32), np.eye(4))) == {"input_negative_percent": 0}


def test_the_truth_of_a_man_is_plausible_but_not_upside_down_or_half_as_large() -> None:
    limits, spec = read_limits(), ModelSpec()
    for seed in (1, 5):
        man = simulate_case(seed, (6.0, 6.0, 6.0), "whole")
        volumes = {"ct": man.ct, "seg": man.seg}
        found, flags = measure(spec, volumes, _volume(man.mr, man.affine), limits)
        assert [f for f in flags if f.startswith(("position", "unlike_training"))] == []
        assert {"superior_mm_bladder-prostate", "input_body_width_mm"} <= set(found)
        turned = np.diag([1.0, -1.0, -1.0, 1.0]) @ man.affine
        _, flags = measure(spec, volumes, _volume(man.mr, turned), limits)
        assert {"position:bladder-prostate", "position:rectum-prostate"} <= set(flags)
        small = man.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
        _, flags = measure(spec, volumes, _volume(man.mr, small), limits)
        assert {"unlike_training:body_width_mm", "position:femoral_head_right-femoral_head_left"} <= set(flags)
    _, flags = measure(spec, volumes, _volume(man.ct, man.affine), limits)
    assert "unlike_training:negative_percent" in flags
