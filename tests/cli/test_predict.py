# SPDX-License-Identifier: Apache-2.0
"""``sfg-med predict`` from the outside: inputs, options, and the files it writes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from sfg_med.errors import SfgMedError
from tests.cli.prediction import SPEC, _manifest, _predict, _rows, _run, _save, _volumes


def test_one_file(tmp_path, model, mr) -> None:
    path = _save(tmp_path / "in" / "x.nii.gz", mr)
    out = tmp_path / "out"
    code, text, _ = _predict(path, out, model)
    assert code == 0
    assert "done" in text
    assert _volumes(out) == ["x_ct.nii.gz", "x_seg.nii.gz"]
    ct, seg = nib.load(out / "x_ct.nii.gz"), nib.load(out / "x_seg.nii.gz")
    assert (ct.get_data_dtype(), seg.get_data_dtype()) == (np.int16, np.uint8)
    for image in (ct, seg):
        np.testing.assert_array_equal(image.affine, nib.load(path).affine)
        assert image.shape == mr.shape
    labels = np.asarray(seg.dataobj)
    values = np.asarray(ct.dataobj)
    assert -1024 <= values.min() < values.max() <= 3000
    manifest = _manifest(out)
    assert manifest["summary"] == {"cases": 1, "done": 1, "failed": 0, "skipped": 0}
    assert len(manifest["model"]["sha256"]) == 64
    assert manifest["options"]["device"] == "cpu"
    assert manifest["options"]["input"] == str(path)
    assert torch.__version__.startswith(manifest["versions"]["torch"].split("+")[0])
    (case,) = manifest["cases"]
    assert case["files"] == {"ct": "x_ct.nii.gz", "seg": "x_seg.nii.gz"}
    row = _rows(out)["x"]
    for name, value in SPEC.label_tasks[0].labels.items():
        inside = labels == value
        assert float(row[f"volume_ml_{name}"]) == pytest.approx(inside.sum() * 12 / 1000, abs=1e-3)
        if inside.any():
            assert float(row[f"mean_hu_{name}"]) == pytest.approx(values[inside].mean(), abs=1e-2)
        else:
            assert row[f"mean_hu_{name}"] == ""
            assert f"empty:{name}" in row["flags"].split(";")


def test_samples_add_uncertainty_maps_and_repeat(tmp_path, model, mr) -> None:
    path = _save(tmp_path / "x.nii.gz", mr)
    names = ["x_ct.nii.gz", "x_ct_std.nii.gz", "x_seg.nii.gz", "x_seg_entropy.nii.gz"]
    for out in ("a", "b", "c"):
        assert _predict(path, tmp_path / out, model, "--samples", 3, "--seed", int(out == "c"))[0] == 0
        assert _volumes(tmp_path / out) == names
    first, again, other = ((tmp_path / o / "x_ct_std.nii.gz").read_bytes() for o in "abc")
    assert first == again != other
    std, entropy = (nib.load(tmp_path / "a" / f"x_{n}.nii.gz") for n in ("ct_std", "seg_entropy"))
    assert std.get_data_dtype() == entropy.get_data_dtype() == np.float32
    assert std.get_fdata().min() >= 0 < std.get_fdata().max()
    assert 0 <= entropy.get_fdata().min() < entropy.get_fdata().max() <= np.log(6) + 1e-5


def test_csv_list(tmp_path, model, mr) -> None:
    _save(tmp_path / "one" / "mr.nii.gz", mr)
    _save(tmp_path / "two" / "mr.nii.gz", mr)
    (tmp_path / "list.csv").write_text("case,image\nP1,one/mr.nii.gz\nwing/P2,two/mr.nii.gz\nP3,three/mr.nii.gz\n")
    code, _, errors = _predict(tmp_path / "list.csv", tmp_path / "out", model)
    assert code == 1
    assert "three" in errors
    assert _volumes(tmp_path / "out") == [
        "P1_ct.nii.gz",
        "P1_seg.nii.gz",
        "wing/P2_ct.nii.gz",
        "wing/P2_seg.nii.gz",
    ]


@pytest.mark.parametrize(
    "more",
    [
        ("--device", "tpu"),
        ("--precision", "fp8"),
        ("--num-parts", 2, "--part-id", 2),
        ("--samples", 0),
        ("--overlap", 2),
    ],
)
def test_wrong_options(tmp_path, model, mr, more) -> None:
    path = _save(tmp_path / "x.nii.gz", mr)
    try:
        code, _, _ = _run("-i", path, "-o", tmp_path / "out", "-m", model, *more)
    except SfgMedError:
        code = 2  # what main() makes of it
    assert code == 2
    assert not (tmp_path / "out").exists()
