# SPDX-License-Identifier: Apache-2.0
"""Images keep their place in the patient, whatever the order of the axes."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from sfg_med.data.volumes import Volume, read_volume
from sfg_med.errors import SfgMedError
from sfg_med.preparation.grid import common_box, covered, resample, with_spacing
from sfg_med.preparation.images import affine_of, array_of, image_like, to_image, write_image

SLOPES = np.array([0.7, -1.3, 2.1])


def linear(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A linear function of the place in the patient, RAS mm, at every voxel."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    return (index @ affine[:3, :3].T + affine[:3, 3]) @ SLOPES


def volume(affine: np.ndarray, shape: tuple[int, ...]) -> Volume:
    return Volume(linear(affine, shape).astype(np.float32), affine, nib.Nifti1Header(), shape, Path("x.nii.gz"))


@settings(max_examples=25, deadline=None)
@given(
    order=st.sampled_from(list(itertools.permutations(range(3)))),
    signs=st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    angles=st.tuples(*[st.floats(-0.3, 0.3)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4.0)] * 3),
)
def test_an_image_is_turned_to_ras_and_stays_where_it_was(order, signs, angles, spacing) -> None:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*angles)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(turn.GetMatrix(), (3, 3)) @ np.eye(3)[:, list(order)] * np.array(signs) * spacing
    affine[:3, 3] = 11, -7, 30
    image = to_image(volume(affine, (4, 5, 6)))
    found = affine_of(image)
    np.testing.assert_allclose(array_of(image), linear(found, image.GetSize()), atol=2e-3)
    assert np.all(np.argmax(np.abs(found[:3, :3]), axis=0) == (0, 1, 2))
    assert np.all(np.diag(found[:3, :3]) > 0)


def test_a_sheared_grid_is_refused() -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(SfgMedError, match="right angles"):
        to_image(volume(affine, (4, 4, 4)))


def test_a_written_image_is_read_as_it_was(tmp_path: Path) -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    image = to_image(volume(affine, (4, 5, 6)))
    write_image(tmp_path / "x.nii.gz", image, "float32")
    found = read_volume(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(found.array, array_of(image))
    np.testing.assert_allclose(found.affine, affine, atol=1e-5)


def test_a_new_voxel_size_keeps_the_box_and_linear_values() -> None:
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    image = to_image(volume(affine, (12, 10, 8)))
    grid = with_spacing(image, (1.0, 2.5, 4.0))
    assert grid.GetSize() == (24, 8, 8)
    inner = (slice(1, -1), slice(2, -2), slice(1, -1))
    found = array_of(resample(image, grid))[inner]
    np.testing.assert_allclose(found, linear(affine_of(grid), grid.GetSize())[inner], atol=1e-2)
    # outer faces of the first voxels are at the same place
    np.testing.assert_allclose(affine_of(grid)[:3, 3] - (0.5, 1.25, 2.0), affine[:3, 3] - (1.0, 1.0, 2.0), atol=1e-5)


def test_a_transform_maps_points_of_the_grid_to_points_of_the_image() -> None:
    image = to_image(volume(np.diag([2.0, 2.0, 2.0, 1.0]), (10, 10, 10)))
    move = sitk.TranslationTransform(3, (4.0, 0.0, 0.0))  # 4 mm to the left in LPS: -4 along R
    moved = array_of(resample(image, image, move, fill=-99.0))
    np.testing.assert_allclose(moved[2:], array_of(image)[:-2], atol=1e-4)
    assert np.all(moved[:2] == -99.0)
    there = array_of(covered(image, image, move))
    assert there[2:].all()
    assert not there[:2].any()


def test_the_box_of_a_mask() -> None:
    mask = np.zeros((6, 7, 8), bool)
    mask[2:4, 1:6, 5] = True
    assert common_box(image_like(mask, sitk.Image(6, 7, 8, sitk.sitkUInt8))) == ([2, 5, 1], [2, 1, 5])
