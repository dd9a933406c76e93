# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from sfg_med.data.cases import Case
from sfg_med.spec import ImageTask, LabelTask, ModelSpec
from sfg_med.transforms import (
    NormalizeInput,
    RandLeftRightFlipd,
    SplitTasksd,
    case_items,
    decode,
    deterministic_transforms,
    network_input,
)

SPEC = ModelSpec(spacing_mm=(2.0, 2.0, 2.0))


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_a_case_in_any_orientation_becomes_ras_and_encoded(tmp_path: Path, axes: str) -> None:
    """The oracle reorients with nibabel; the spacing is the network's own, so no voxel value changes."""
    rng = np.random.default_rng(0)
    mr = rng.normal(400, 100, (9, 8, 7)).clip(0).astype(np.int16)
    ct = rng.integers(-2000, 4000, mr.shape).astype(np.int16)
    seg = rng.integers(0, 6, mr.shape).astype(np.uint8)
    reference = nib.Nifti1Image(mr, np.diag([2.0, 2.0, 2.0, 1.0]))
    change = ornt_transform(io_orientation(reference.affine), axcodes2ornt(axes))
    files = {}
    for role, array in (("mr", mr), ("ct", ct), ("seg", seg)):
        turned = nib.Nifti1Image(array, reference.affine).as_reoriented(change)
        files[role] = save(tmp_path / f"{role}.nii.gz", np.asarray(turned.dataobj), turned.affine)
    items = case_items([Case("c", files, {"seg": {"prostate": 1, "bladder": 2}}, other_labels="background")])
    found = Compose(deterministic_transforms(SPEC))(items[0])
    np.testing.assert_allclose(found["ct"][0], ct.clip(-1024, 3000) / 1000, atol=1e-5)
    np.testing.assert_array_equal(found["seg"][0], np.where(seg <= 2, seg, 0))
    assert found["ct_annotated"].tolist() == [1]
    assert found["seg_annotated"].tolist() == [1, 1, 1, 0, 0, 0]
    assert (found["mask"] == 1).all()
    torch.testing.assert_close(found["mr"].as_tensor(), NormalizeInput()(torch.tensor(mr)[None]))


def test_missing_targets_are_filled_and_marked(tmp_path: Path) -> None:
    mr = np.random.default_rng(0).normal(400, 100, (6, 5, 4)).astype(np.float32)
    path = save(tmp_path / "mr.nii.gz", mr, np.diag([2.0, 2.0, 2.0, 1.0]))
    found = Compose(deterministic_transforms(SPEC))(case_items([Case("c", {"mr": path}, {"seg": {"prostate": 1}})])[0])
    assert found["ct"].shape == found["seg"].shape == found["mr"].shape
    assert not found["ct_annotated"].any()
    assert not found["seg_annotated"].any()


def test_zscored_targets_use_their_own_statistics() -> None:
    from sfg_med.transforms.targets import encode_image

    task = ImageTask(name="flair", unit="a.u.", fill=0.0, value_range=(0, 1e5), normalize="zscore")
    image = torch.cat((torch.zeros(1, 50), torch.randn(1, 50) * 30 + 400), 1)
    found = encode_image(image, task)[0, 50:]
    assert found.mean().abs() < 1e-4
    assert found.std().item() == pytest.approx(1, abs=1e-4)


def test_normalisation_ignores_scale_and_air() -> None:
    patient = torch.rand(1, 20, 20, 20) * 500 + 200
    image = torch.zeros(1, 40, 20, 20)
    image[:, :20] = patient
    normalise = NormalizeInput()
    torch.testing.assert_close(normalise(image), normalise(image * 37), rtol=1e-4, atol=1e-4)
    inside = normalise(image)[:, :20]
    assert inside.mean().abs() < 1e-4
    assert inside.std().item() == pytest.approx(1, abs=1e-3)
    assert torch.isfinite(normalise(torch.full((1, 3, 3, 3), 7.0))).all()


def test_network_input_is_what_training_sees(tmp_path: Path) -> None:
    mr = np.random.default_rng(0).normal(400, 100, (30, 20, 10)).astype(np.float32)
    affine = np.array([[-1.5, 0, 0, 10], [0, 1.5, 0, -5], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    path = save(tmp_path / "mr.nii.gz", mr, affine)
    trained = Compose(deterministic_transforms(SPEC))(case_items([Case("c", {"mr": path}, {})])[0])["mr"]
    predicted = network_input(MetaTensor(torch.tensor(mr)[None], affine=torch.tensor(affine)), SPEC)
    torch.testing.assert_close(predicted.as_tensor(), trained.as_tensor())
    torch.testing.assert_close(predicted.affine, trained.affine)


def test_a_mirrored_patient_has_mirrored_organs() -> None:
    seg = torch.zeros(1, 8, 4, 4, dtype=torch.uint8)
    seg[:, 1], seg[:, 6], seg[:, 3] = 4, 5, 1  # femoral head left, right, prostate
    ct = torch.arange(8.0).reshape(1, 8, 1, 1).expand(1, 8, 4, 4)
    flip = RandLeftRightFlipd(["ct", "seg"], SPEC, prob=1.0)
    found = flip({"ct": ct, "seg": seg})
    assert found["ct"][0, :, 0, 0].tolist() == list(range(7, -1, -1))
    assert found["seg"][0, :, 0, 0].tolist() == [0, 4, 0, 0, 1, 0, 5, 0]
    again = flip(found)
    assert torch.equal(again["seg"], seg)


def test_decoding_undoes_encoding() -> None:
    hu = torch.tensor([[-1500.0, -1024.0, 0.0, 300.0, 5000.0]])
    found = decode(hu / 1000, ImageTask())
    assert found[0].tolist() == [-1024, -1024, 0, 300, 3000]
    task = LabelTask(labels={"a": 7, "b": 3})
    logits = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert decode(logits, task)[0].tolist() == [0, 7, 3]


def test_tasks_are_split_with_and_without_log_variances_behind_them() -> None:
    output = torch.randn(9, 4, 4, 4)
    for channels in (7, 9):
        found = SplitTasksd("pred", SPEC)({"pred": output[:channels], "mr": 1})
        assert set(found) == {"ct", "seg", "mr"}
        assert torch.equal(found["ct"], output[:1])
        torch.testing.assert_close(found["seg"], output[1:7].softmax(0))
