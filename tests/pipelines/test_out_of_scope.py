# SPDX-License-Identifier: Apache-2.0
"""Families of inputs are written once, headers lie as they say, and flags are counted."""

import nibabel as nib
import numpy as np
import pytest

from pipelines.out_of_scope import markdown
from pipelines.out_of_scope_inputs import FAMILIES, PELVISES, write_inputs
from sfg_med.errors import SfgMedError

FAMILY = {family.name: family for family in FAMILIES}
AFFINE = np.array([[-2.0, 0, 0, 30], [0, -2, 0, 12], [0, 0, 5, -40], [0, 0, 0, 1]])


@pytest.fixture
def data(tmp_path):
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for name in PELVISES:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(volume, AFFINE), tmp_path / "data" / name)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "corner", "spacing"),
    [
        ("half_size", (30, 12, -40), (1, 1, 2.5)),
        ("double_size", (30, 12, -40), (4, 4, 10)),
        ("head_feet", (30, 12, -20), (2, 2, 5)),
        ("front_back", (30, 6, -40), (2, 2, 5)),
    ],
)
def test_headers_lie(data, tmp_path, name, corner, spacing):
    write_inputs(FAMILY[name], data, tmp_path / name)
    files = sorted((tmp_path / name).iterdir())
    assert len(files) == len(PELVISES)
    before = [path.stat().st_mtime_ns for path in files]
    image = nib.load(files[0])
    np.testing.assert_allclose(image.affine[:3, 3], corner)
    np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), spacing)
    np.testing.assert_array_equal(image.dataobj, np.arange(60).reshape(3, 4, 5))
    middle = nib.affines.apply_affine(image.affine, [1, 1.5, 2])
    if name in ("head_feet", "front_back"):
        np.testing.assert_allclose(middle, nib.affines.apply_affine(AFFINE, [1, 1.5, 2]))
    write_inputs(FAMILY[name], data, tmp_path / name)
    assert [path.stat().st_mtime_ns for path in files] == before


def test_phantoms_are_drawn_and_lacking_data_are_said(tmp_path):
    write_inputs(FAMILY["phantoms"], tmp_path, tmp_path / "phantoms")
    volumes = {p.name: np.asarray(nib.load(p).dataobj) for p in (tmp_path / "phantoms").iterdir()}
    assert len(volumes) == 5
    signal = {name: float((volume > 150).mean()) for name, volume in volumes.items()}
    assert signal["noise.nii.gz"] == 0
    # area of a circle of 200 mm in a square of 384 mm
    assert signal["cylinder.nii.gz"] == pytest.approx(np.pi * 100**2 / 384**2, rel=0.01)
    with pytest.raises(SfgMedError, match="--data"):
        write_inputs(FAMILY["brain"], tmp_path, tmp_path / "brain")


def test_flags_are_counted():
    flags = ("", "empty;fov_edge:bladder", "position:bladder-prostate;unlike_training:body_width_mm", "range")
    rows = [{"family": "brain", "case": str(number), "flags": text} for number, text in enumerate(flags)]
    line = next(line for line in markdown(rows).splitlines() if line.startswith("| brain"))
    assert line.endswith("| 4 | 1 | 2 |")
