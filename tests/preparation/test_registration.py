# SPDX-License-Identifier: Apache-2.0
"""Simulated pairs with a known motion: how much of it is left after registration."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from pipelines.known_motion import Motion, residual_mm
from pipelines.registration_error import moved_pair
from sfg_med.data.simulation import simulate_case
from sfg_med.data.volumes import Volume
from sfg_med.errors import SfgMedError
from sfg_med.preparation.images import array_of, image_like, to_image
from sfg_med.preparation.registration import align, choose_engine

ELASTIX = pytest.param(
    "elastix",
    marks=pytest.mark.skipif(not importlib.util.find_spec("itk.ElastixPython"), reason="needs itk-elastix"),
)
Pair = tuple[sitk.Image, sitk.Image, sitk.Image, sitk.Image, Motion]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """MR, its body, the moved CT, its body, and the motion; the CT goes on beyond the MR at both ends."""
    man = simulate_case(3, (6.0, 6.0, 6.0), "whole")
    mr, ct = (_image(array, man.affine) for array in (man.mr, man.ct))
    return moved_pair(mr, ct, 3, 36.0)


def _image(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    return to_image(Volume(array, affine, nib.Nifti1Header(), array.shape, Path("simulated")))


@pytest.mark.parametrize("name", ["simpleitk", ELASTIX])
def test_a_known_motion_is_undone(pair: Pair, name: str) -> None:
    mr, body, ct, ct_body, motion = pair
    inside = array_of(body) > 0
    before = residual_mm(motion, sitk.Transform(3, sitk.sitkIdentity), mr, inside)
    engine = choose_engine(name)
    rigid = align(mr, body, ct, ct_body, "rigid", engine)
    after_rigid = residual_mm(motion, rigid.transform, mr, inside)
    bent = align(mr, body, ct, ct_body, "deformable", engine)
    after = residual_mm(motion, bent.transform, mr, inside)
    # voxels are 6 mm; the bend alone moves by up to 6 mm along each axis
    assert before.mean() > 9
    assert after_rigid.mean() < 0.65 * before.mean()
    assert after.mean() < 0.8 * after_rigid.mean()
    assert bent.flags == ()
    for figures, last in ((rigid.figures, "rigid"), (bent.figures, "after")):
        assert figures[f"mutual_information_{last}"] > figures["mutual_information_before"]
        assert figures[f"body_dice_{last}"] > 0.95
    assert bent.figures["folded_percent"] == 0


class _Folding:
    """An engine whose deformation is a mirror."""

    name = "simpleitk"

    def rigid(self, fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image, start: sitk.Transform) -> sitk.Transform:
        return sitk.TranslationTransform(3, (1.0, 0.0, 0.0))

    def deformable(self, fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image, there: sitk.Image) -> sitk.Transform:
        mirror = sitk.AffineTransform(3)
        mirror.SetMatrix((-1, 0, 0, 0, 1, 0, 0, 0, 1))
        return mirror


def test_a_deformation_that_folds_is_not_used(pair: Pair) -> None:
    found = align(*pair[:4], "deformable", _Folding())
    assert "deformation_refused" in found.flags
    assert found.transform.TransformPoint((0.0, 0.0, 0.0)) == (1.0, 0.0, 0.0)


def test_without_registration_the_headers_count(pair: Pair) -> None:
    found = align(*pair[:4], "none", _Folding())
    assert found.transform.TransformPoint((1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert "mutual_information_rigid" not in found.figures


def test_a_ct_in_another_frame_is_found(pair: Pair) -> None:
    """Headers of two scanners have nothing to do with each other."""
    mr, body, _, _, _ = pair
    far = sitk.Image(mr)
    far.SetOrigin(np.add(mr.GetOrigin(), (250.0, -180.0, 400.0)).tolist())
    outline = image_like(array_of(body), far)

    class Start(_Folding):
        def rigid(self, fixed, moving, mask, start):
            return start

    found = align(mr, body, far, outline, "rigid", Start())
    moved = np.subtract(found.transform.TransformPoint((0.0, 0.0, 0.0)), (250.0, -180.0, 400.0))
    assert np.abs(moved).max() < 12


def test_an_unknown_engine_is_one_line() -> None:
    with pytest.raises(SfgMedError, match="--engine"):
        choose_engine("ants")
