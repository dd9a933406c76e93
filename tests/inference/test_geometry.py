# SPDX-License-Identifier: Apache-2.0
"""Whatever the grid of the input: the results lie in it, and what was somewhere stays there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch
from scipy.spatial.transform import Rotation

from sfg_med.data.volumes import read_volume, write_volume
from sfg_med.inference import native_grid
from sfg_med.inference.native_grid import NativeGrid
from sfg_med.inference.predictor import Predictor, _as_tensor
from sfg_med.spec import ModelSpec
from sfg_med.transforms import network_input

SLOW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def affines(draw: st.DrawFn, shear: bool = True) -> np.ndarray:
    """Permuted and flipped axes, any rotation, anisotropic voxels, sometimes axes not at right angles."""
    spacing = [draw(st.floats(0.8, 5.0)) for _ in range(3)]
    cosines = np.eye(3)[:, draw(st.permutations(range(3)))] * draw(
        st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3).map(np.array)
    )
    angles = [draw(st.floats(-180, 180)) for _ in range(3)] if draw(st.booleans()) else [0.0, 0.0, 0.0]
    cosines = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ cosines
    if shear and draw(st.booleans()):
        cosines = cosines @ (np.eye(3) + np.triu(np.full((3, 3), draw(st.floats(-0.15, 0.15))), 1))
    affine = np.eye(4)
    affine[:3, :3] = cosines * spacing
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


codes = st.sampled_from([(1, 1), (2, 1), (4, 2), (1, 0), (0, 1), (0, 3), (0, 0)])


def _predict(standin: Callable, path: Path) -> tuple[object, dict[str, np.ndarray], Path]:
    volume = read_volume(path)
    prediction = Predictor(standin(), device="cpu", precision="fp32", overlap=0.25, whole_image=True).predict(volume)
    out = path.parent / "out.nii.gz"
    write_volume(out, prediction.images["ct"], volume, "int16")
    return volume, {**prediction.images, **prediction.labels}, out


def _centre(weights: np.ndarray, affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, weights.shape), indexing="ij"), -1).reshape(-1, 3)
    mean = np.average(index, axis=0, weights=weights.ravel())
    return affine[:3, :3] @ mean + affine[:3, 3]


@given(affines(), st.tuples(*[st.integers(1, 24)] * 3), codes, st.booleans())
@SLOW
def test_results_have_the_grid_of_the_input(standin, save_nifti, affine, shape, code, four) -> None:
    sform, qform = code
    array = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)
    array.flat[0] = 2000  # never constant
    assume(array.size > 1 and max(shape * np.linalg.norm(affine[:3, :3], axis=0)) > 4.0)
    with tempfile.TemporaryDirectory() as folder:
        path = save_nifti(Path(folder) / "x.nii.gz", array[..., None] if four else array, affine, sform, qform)
        volume, arrays, out = _predict(standin, path)
        before, after = nib.load(path), nib.load(out)
        assert after.shape == before.shape
        np.testing.assert_array_equal(after.affine, before.affine)
        for name in (
            "sform_code",
            "qform_code",
            "srow_x",
            "srow_y",
            "srow_z",
            "quatern_b",
            "qoffset_z",
            "xyzt_units",
        ):
            np.testing.assert_array_equal(after.header[name], before.header[name])
        np.testing.assert_array_equal(after.header["pixdim"][:4], before.header["pixdim"][:4])
        assert after.get_data_dtype() == np.int16
        assert (after.dataobj.slope, after.dataobj.inter) == (1, 0)
        assert {a.shape for a in arrays.values()} == {shape}
        assert ("no_orientation" in volume.notes) == (code == (0, 0))
        assert ("single_slice" in volume.notes) == (1 in shape)


@given(affines(), st.tuples(*[st.integers(20, 45)] * 3), st.tuples(*[st.floats(-0.1, 0.1)] * 3))
@SLOW
def test_a_landmark_stays_where_it_was(standin, save_nifti, blob_image, affine, shape, shift) -> None:
    image = blob_image(shape, shift)
    with tempfile.TemporaryDirectory() as folder:
        path = save_nifti(Path(folder) / "x.nii", image, affine, 1, 0)
        _, arrays, _ = _predict(standin, path)
    level = 450  # lower down the blob runs into the border
    expected = _centre(np.clip(image.astype(float) - level, 0, None), affine)
    ct = arrays["ct"]
    # the copy is in normalised units: a straight line leads back to the input's
    slope, offset = np.polyfit(ct.ravel(), image.ravel(), 1)
    copied = _centre(np.clip(ct * slope + offset - level, 0, None), affine)
    label = arrays["seg"] == 7
    assert label.any()
    labelled = _centre(label.astype(float), affine)
    for found in (copied, labelled):
        assert np.abs(np.linalg.solve(affine[:3, :3], found - expected)).max() < 0.5
    assert np.abs(ct * slope + offset - image).mean() < 20  # of 800; it is interpolated twice


@given(affines(shear=False), st.tuples(*[st.integers(1, 24)] * 3), st.integers(0, 99))
@SLOW
def test_axis_by_axis_is_what_resampling_in_space_gives(affine, shape, seed) -> None:
    """The oracle is MONAI's SpatialResample, which sheared grids still go through."""
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    assume(array.size > 1)  # one number cannot be normalised
    assume(max(shape * np.linalg.norm(affine[:3, :3], axis=0)) > 4.0)
    image = network_input(MetaTensor(torch.from_numpy(array)[None], affine=affine), ModelSpec(spacing_mm=(2, 2, 3)))
    channels = torch.cat([image.as_tensor(), image.as_tensor().flip(1)])
    work = np.asarray(image.affine, np.float64)
    grid = NativeGrid(affine, shape)
    assert grid._parallel(np.linalg.solve(work, affine)) is not None

    def restored() -> np.ndarray:
        return grid.restore(channels, work, lambda maps: maps[0] - maps[1], fill=0.0, dtype=np.float32)

    straight = restored()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NativeGrid, "_parallel", lambda *_: None)
        patch.setattr(native_grid, "SLAB_VALUES", 600)
        oracle = restored()
    np.testing.assert_allclose(straight, oracle, atol=2e-3)


def test_same_grid_is_copied_exactly(standin, save_nifti, blob_image, tmp_path) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image = blob_image((20, 22, 24))
    _, arrays, _ = _predict(standin, save_nifti(tmp_path / "x.nii", image, affine))
    slope, offset = np.polyfit(arrays["ct"].ravel(), image.ravel(), 1)
    np.testing.assert_allclose(arrays["ct"] * slope + offset, image, atol=0.01)


def test_labels_come_from_interpolated_probabilities(standin, save_nifti, blob_image, tmp_path) -> None:
    """On a coarse grid of the network the organ's border is still smooth; repeated coarse labels would be steps."""
    image = blob_image((45, 46, 47))
    path = save_nifti(tmp_path / "x.nii", image, np.diag([1.0, 1.0, 1.0, 1]))
    model = standin(spacing_mm=(4.0, 4.0, 4.0))
    prediction = Predictor(model, device="cpu", precision="fp32").predict(read_volume(path))
    smooth = prediction.images["ct"] > 100  # where the network's own level lies
    coarse = network_input(_as_tensor(read_volume(path)), model.spec)
    matched = ResampleToMatch(mode="nearest", padding_mode="border")(coarse > 1, _as_tensor(read_volume(path)))
    wrong = np.mean((prediction.labels["seg"] == 7) != smooth)
    wrong_with_steps = np.mean((matched[0].numpy() > 0.5) != smooth)
    assert wrong < 0.25 * wrong_with_steps
    assert set(np.unique(prediction.labels["seg"])) == {0, 7}


def _linear(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return world @ np.array([0.5, -0.3, 0.8])


def test_native_grid_against_a_linear_function(monkeypatch) -> None:
    """Exact for a linear function, in one slab or in many; far beyond the grid comes the fill."""
    work = np.diag([3.0, 3.0, 3.0, 1.0])
    source = torch.as_tensor(_linear((20, 21, 22), work), dtype=torch.float32)[None]
    affine = np.array([[0, -1.5, 0, 40.0], [1.1, 0, 0, 3.0], [0, 0.2, 2.5, 1.0], [0, 0, 0, 1]])
    grid = NativeGrid(affine, (40, 30, 40))
    expected = _linear(grid.shape, affine)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    position = index @ (affine[:3, :3].T / 3) + affine[:3, 3] / 3
    size = np.array([19, 20, 21])
    inside = ((position >= 0) & (position <= size)).all(-1)
    beyond = ((position < -1.01) | (position > size + 1.01)).any(-1)
    assert inside.any()
    assert beyond.any()
    results = []
    for values in (2**23, 4000):
        monkeypatch.setattr(native_grid, "SLAB_VALUES", values)
        results.append(grid.restore(source, work, lambda maps: maps[0], fill=-77.0, dtype=np.float32))
    np.testing.assert_allclose(results[0][inside], expected[inside], atol=2e-3)
    assert (results[0][beyond] == -77).all()
    np.testing.assert_allclose(results[0], results[1], atol=2e-3)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        "dicom_mr/prostate3t_0001_t2.nii.gz",
        "hipmri_pelvis/case018_week7_mr.nii.gz",
        "pelvis_pairs/case005/mr.nii.gz",
        "prostatex_mpmri/px0000_t2.nii.gz",
        "prostatex_mpmri/px0000_pd.nii.gz",
    ],
)
def test_real_volumes(standin, shared_data, tmp_path, name) -> None:
    path = shared_data / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    volume = read_volume(path)
    prediction = Predictor(standin(spacing_mm=(4.0, 4.0, 4.0)), device="cpu", whole_image=True).predict(volume)
    out = tmp_path / "x_ct.nii.gz"
    write_volume(out, prediction.images["ct"], volume, "int16")
    before, after = nib.load(path), nib.load(out)
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    assert np.corrcoef(np.asarray(after.dataobj).ravel(), np.asarray(before.dataobj).ravel())[0, 1] > 0.8
