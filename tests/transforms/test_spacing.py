# SPDX-License-Identifier: Apache-2.0
"""Resampling gives the same grid to affines that differ in their last bits, and else what MONAI gives."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Spacing
from scipy.spatial.transform import Rotation

from sfg_med.transforms import StableSpacing, StableSpacingd, steady_affine
from tests.data.dicom.series_files import oblique_affine


def _volume(shape: tuple[int, ...], affine: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.rand(1, *shape), affine=torch.tensor(affine, dtype=torch.float64))


@given(
    count=st.integers(1, 600),
    spacing=st.integers(30, 600),
    pixdim=st.integers(50, 400),
    noise=st.floats(-1e-6, 1e-6),
)
def test_voxels_are_counted_exactly(count: int, spacing: int, pixdim: int, noise: float) -> None:
    """The oracle counts in fractions of a hundredth of a millimetre; noise is what a header's digits leave."""
    steps = Fraction((count - 1) * spacing, pixdim)
    up, down = (int(steps * (1 + Fraction(part, 10**5)) + Fraction(1, 2)) + 1 for part in (1, -1))
    affine = np.diag([spacing / 100 + noise / 100, 1, 1, 1])
    found = StableSpacing((pixdim / 100, 1, 1))(_volume((count, 1, 1), affine)).shape[1]
    assert found == up if steps % 1 == Fraction(1, 2) else found in (up, down)


@pytest.mark.parametrize("change", [-3e-6, 0.0, 3e-6])
def test_half_a_voxel_goes_up(change: float) -> None:
    affine = oblique_affine((0.5, 0.5, 3.0))
    affine[:3, 2] *= 1 + change
    found = StableSpacing((4.0, 4.0, 4.0), padding_mode="border")(_volume((33, 33, 19), affine))
    assert found.shape == (1, 5, 5, 15)


@pytest.mark.parametrize("shear", [0.0, 0.2])
def test_values_and_geometry_are_monais(shear: float) -> None:
    affine = oblique_affine((0.7, 0.9, 3.3))
    affine[:3, :3] @= np.eye(3) + np.triu(np.full((3, 3), shear), 1)
    volume = _volume((17, 20, 13), affine)
    ours, theirs = (kind((2.0, 2.0, 2.0), padding_mode="border")(volume) for kind in (StableSpacing, Spacing))
    torch.testing.assert_close(ours.as_tensor(), theirs.as_tensor())
    torch.testing.assert_close(ours.affine, theirs.affine)
    transform = StableSpacingd(["mr"], (2.0, 2.0, 2.0))
    item = transform({"mr": volume})
    torch.testing.assert_close(item["mr"].as_tensor(), theirs.as_tensor())
    back = transform.inverse(item)["mr"]
    assert back.shape == volume.shape
    torch.testing.assert_close(back.affine, volume.affine)


@given(size=st.integers(1, 10**6), turn=st.floats(-180, 180))
def test_single_precision_leaves_no_trace_in_voxel_sizes(size: int, turn: float) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xz", (turn, 10), degrees=True).as_matrix() * (size / 1e4)
    exact, rounded = (steady_affine(a) for a in (affine, affine.astype(np.float32)))
    for found in (exact, rounded):
        np.testing.assert_allclose(np.linalg.norm(found[:3, :3], axis=0), size / 1e4, rtol=1e-12)
    np.testing.assert_allclose(exact, affine, rtol=1e-6, atol=1e-12)
