# SPDX-License-Identifier: Apache-2.0
"""Simulated pairs with a known motion: how much of it is left after registration."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from pipelines.known_motion import Motion, residual_mm
from pipelines.registration_error import every_third, moved_pair
from sfg_med.data.simulation import simulate_case
from sfg_med.data.volumes import Volume
from sfg_med.errors import SfgMedError
from sfg_med.preparation.images import array_of, to_image
from sfg_med.preparation.registration import align, choose_engine

ELASTIX = pytest.param(
    "elastix",
    marks=pytest.mark.skipif(not importlib.util.find_spec("itk.ElastixPython"), reason="needs itk-elastix"),
)
Pair = tuple[sitk.Image, sitk.Image, sitk.Image, sitk.Image, Motion]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """MR, its body, the moved CT, its body, and the motion; oblique grids; the CT goes beyond the MR at both ends."""
    man = simulate_case(3, (4.0, 4.0, 4.0), "whole")
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xz", (8, -12), degrees=True).as_matrix()
    mr, ct = (_image(array, turn @ man.affine) for array in (man.mr, man.ct))
    return moved_pair(mr, ct, 3, 36.0)


def _image(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    return to_image(Volume(array, affine, nib.Nifti1Header(), array.shape, Path("simulated")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simpleitk", ELASTIX])
def test_a_known_motion_is_undone(pair: Pair, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mr, body, ct, ct_body, motion = pair
    inside = every_third(array_of(body) > 0)
    before = residual_mm(motion, sitk.Transform(3, sitk.sitkIdentity), mr, inside)
    found = align(mr, body, ct, ct_body, "deformable", choose_engine(name))
    rigid, _ = (found.transform.GetNthTransform(i) for i in range(2))
    after_rigid = residual_mm(motion, rigid, mr, inside)
    after = residual_mm(motion, found.transform, mr, inside)
    # voxels are 4 mm; the bend alone moves by up to 6 mm along each axis
    assert before.mean() > 9
    assert after_rigid.mean() < 0.65 * before.mean()
    assert after.mean() < 0.8 * after_rigid.mean()
    assert found.flags == ()
    figures = found.figures
    for name, last in (("before", "rigid"), ("rigid", "after")):
        assert figures[f"mutual_information_{last}"] > figures[f"mutual_information_{name}"]
        assert figures[f"body_dice_{last}"] > 0.95
    assert figures["folded_percent"] == 0
    assert list(tmp_path.iterdir()) == [], "elastix leaves files where it is called, if it may"


class _Folding:
    """An engine whose deformation is a mirror."""

    name = "mirror"

    def deformable(self, fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image, there: sitk.Image) -> sitk.Transform:
        mirror = sitk.AffineTransform(3)
        mirror.SetMatrix((-1, 0, 0, 0, 1, 0, 0, 0, 1))
        return mirror


def test_a_deformation_that_folds_is_not_used(pair: Pair) -> None:
    found, rigid = (align(*pair[:4], kind, _Folding()) for kind in ("deformable", "rigid"))
    assert "deformation_refused" in found.flags
    point = (10.0, -20.0, 30.0)
    assert found.transform.TransformPoint(point) == pytest.approx(rigid.transform.TransformPoint(point), abs=0.5)


def test_without_registration_the_headers_count(pair: Pair) -> None:
    found = align(*pair[:4], "none", _Folding())
    assert found.transform.TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert "mutual_information_rigid" not in found.figures


def test_a_ct_in_another_frame_is_found(pair: Pair) -> None:
    """Headers of two scanners have nothing to do with each other."""
    mr, body, ct, ct_body, motion = pair
    shift = np.array([250.0, -180.0, 400.0])
    for image in (far := sitk.Image(ct), outline := sitk.Image(ct_body)):
        image.SetOrigin(np.add(ct.GetOrigin(), shift).tolist())
    found = align(mr, body, far, outline, "rigid", _Folding())
    back = sitk.TranslationTransform(3, (-shift).tolist())
    near = align(mr, body, ct, ct_body, "rigid", _Folding())
    inside = every_third(array_of(body) > 0)
    left = residual_mm(motion, sitk.CompositeTransform([back, found.transform]), mr, inside)
    expected = residual_mm(motion, near.transform, mr, inside)
    assert left.mean() < expected.mean() + 0.5


def test_an_unknown_engine_is_one_line() -> None:
    with pytest.raises(SfgMedError, match="--engine"):
        choose_engine("ants")
