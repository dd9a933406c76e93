# SPDX-License-Identifier: Apache-2.0
"""Files of a case that do not belong together are refused in one line that names them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfg_med.data.cases import Dataset, find_cases
from sfg_med.errors import SfgMedError
from sfg_med.spec import ModelSpec
from sfg_med.transforms import ReadCased, case_items

SPEC = ModelSpec()
SHAPE = (8, 7, 6)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 3, 1]) if affine is None else affine), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of one good case."""
    rng = np.random.default_rng(0)
    save(tmp_path / "a" / "mr.nii.gz", rng.integers(0, 500, SHAPE).astype(np.int16))
    save(tmp_path / "a" / "ct.nii.gz", rng.integers(-1000, 500, SHAPE).astype(np.int16))
    save(tmp_path / "a" / "seg.nii.gz", rng.integers(0, 6, SHAPE).astype(np.uint8))
    save(tmp_path / "a" / "mask.nii.gz", np.ones(SHAPE, np.uint8))
    return tmp_path


def read(folder: Path, **options: object) -> dict:
    (item,) = case_items(find_cases(Dataset.of({"path": folder, **options}), SPEC))
    return ReadCased(SPEC)(item)


def test_a_good_case_is_read_as_it_is(folder: Path) -> None:
    found = read(folder)
    for role in ("mr", "ct", "seg", "mask"):
        stored = nib.load(folder / "a" / f"{role}.nii.gz")
        assert found[role].shape == (1, *SHAPE)
        np.testing.assert_array_equal(found[role][0], np.asarray(stored.dataobj))
        np.testing.assert_allclose(found[role].affine, stored.affine)


@pytest.mark.parametrize("role", ["ct", "seg", "mask"])
@pytest.mark.parametrize(("shape", "shift", "word"), [((8, 7, 5), 0.0, "8 x 7 x 5"), (SHAPE, 0.5, "0.5 mm")])
def test_another_grid_than_the_input_is_refused(
    folder: Path, role: str, shape: tuple[int, int, int], shift: float, word: str
) -> None:
    affine = np.diag([2.0, 2, 3, 1])
    affine[0, 3] = shift
    save(folder / "a" / f"{role}.nii.gz", np.arange(np.prod(shape)).reshape(shape).astype(np.uint8) % 2, affine)
    with pytest.raises(SfgMedError) as caught:
        read(folder)
    for text in (f"a/{role}.nii.gz", "a/mr.nii.gz", word):
        assert text in str(caught.value)


def test_rounding_in_headers_is_no_other_grid(folder: Path) -> None:
    affine = np.diag([2.00001, 2, 3, 1])
    save(folder / "a" / "mask.nii.gz", np.ones(SHAPE, np.uint8), affine)
    read(folder)


@pytest.mark.parametrize("value", [6, 255, 2.5])
def test_a_label_without_a_name_is_refused(folder: Path, value: float) -> None:
    seg = np.zeros(SHAPE, np.float32)
    seg[1, 2, 3] = value
    save(folder / "a" / "seg.nii.gz", seg)
    with pytest.raises(SfgMedError) as caught:
        read(folder)
    for text in ("a/seg.nii.gz", f"found {value:g}", "0, 1, 2, 3, 4, 5", "other_labels"):
        assert text in str(caught.value)
    assert read(folder, other_labels="background")["seg"].max() == value


def test_labels_are_those_of_the_dataset(folder: Path) -> None:
    with pytest.raises(SfgMedError, match="label values 0, 1, found"):
        read(folder, labels={"seg": {"prostate": 1}})
    seg = np.zeros(SHAPE, np.uint8)
    seg[0] = 77
    save(folder / "a" / "seg.nii.gz", seg)
    read(folder, labels={"seg": {"bladder": 77}})


@pytest.mark.parametrize(
    ("role", "array", "word"),
    [
        ("mr", np.full(SHAPE, np.nan, np.float32), "finite"),
        ("mr", np.full(SHAPE, 3, np.int16), "every voxel"),
        ("ct", np.full(SHAPE, np.inf, np.float32), "finite"),
    ],
)
def test_voxels_that_cannot_be_trained_on(folder: Path, role: str, array: np.ndarray, word: str) -> None:
    save(folder / "a" / f"{role}.nii.gz", array)
    with pytest.raises(SfgMedError, match=word):
        read(folder)


def test_an_empty_segmentation_is_fine(folder: Path) -> None:
    save(folder / "a" / "seg.nii.gz", np.zeros(SHAPE, np.uint8))
    assert not read(folder)["seg"].any()


def test_the_option_is_checked(folder: Path) -> None:
    with pytest.raises(SfgMedError, match="other_labels"):
        read(folder, other_labels="ignore")
