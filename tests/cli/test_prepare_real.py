# SPDX-License-Identifier: Apache-2.0
"""``sfg-med prepare`` on real scans."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfg_med.data.volumes import read_volume
from tests.cli.preparing import QUICK, Prepare, dropped, record, save


@pytest.mark.shared
@pytest.mark.slow
def test_real_series_and_why_some_are_not_taken(
    tmp_path: Path, prepare: Prepare, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_data / "dicom_mr"
    assert prepare(source, tmp_path / "out", *QUICK, "--require", "mr", "--spacing", "3") == 1
    shown = capsys.readouterr()
    names = {
        "prostatex0000_adc": "007_ep2d_diff_tra_DYNDIST_ADC",
        "prostatex0000_dwi_mixed_bvalues": "006_ep2d_diff_tra_DYNDIST",
        "prostatex0000_hbv_missing_slice": "008_ep2d_diff_tra_DYNDISTCALC_BVAL",
    }
    several = "57 images at 19 positions: several volumes (b-values 50, 400, 800); split the series"
    reasons = dropped(tmp_path / "out")
    assert reasons == {
        "prostatex0000_adc": "diffusion, which is taken only where a CSV names it",
        "prostatex0000_dwi_mixed_bvalues": several,
        "prostatex0000_hbv_missing_slice": "1 slice missing: 6 mm between 1-07.dcm and 1-05.dcm, usually 3 mm",
    }
    lines = [
        f"dropped: {case}: case {case}: expected mr, found nothing to use; not used: {name} ({reasons[case]}); add it"
        for case, name in names.items()
    ]
    assert [line for line in shown.err.splitlines() if line.startswith("dropped")] == lines
    assert "series that are not used" in shown.out
    done = {case for case, r in record(tmp_path / "out").items() if r["status"] == "done"}
    assert done == {"prostate3t_0001_t2_tra", "prostate3t_0002_t2_tra", "prostatex0000_t2_tra"}


@pytest.mark.shared
def test_a_real_ct_keeps_its_body(tmp_path: Path, prepare: Prepare, shared_data: Path) -> None:
    """There is no MR of the patient: its place is taken by the CT's own values from 0 up."""
    ct = nib.load(shared_data / "pelvic_ct/pelvis_ct.nii.gz")
    hu, affine = np.asarray(ct.dataobj), ct.affine
    save(tmp_path / "in/x/ct.nii.gz", hu, affine)
    save(tmp_path / "in/x/mr.nii.gz", np.clip(hu + 1000.0, 0, 1500).astype(np.float32), affine)
    shutil.copy(shared_data / "pelvic_ct/pelvis_seg.nii.gz", tmp_path / "in/x/seg.nii.gz")
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK) == 0
    found = {role: read_volume(tmp_path / f"out/x/{role}.nii.gz").array for role in ("ct", "seg", "mask")}
    organs = found["seg"] > 0
    assert found["mask"][organs].all()
    np.testing.assert_array_equal(found["ct"][organs], hu[organs])
    dense = hu > -500
    # 9.2 l, of which the couch is less than 2 %
    assert 0.98 * dense.sum() < (found["ct"] > -500).sum() < dense.sum()


@pytest.mark.shared
def test_a_real_prostate_mr_without_ct(tmp_path: Path, prepare: Prepare, shared_data: Path) -> None:
    """The field of view lies inside the body; every second voxel in plane."""
    for name in ("t2", "prostate"):
        whole = nib.load(shared_data / f"promise12/case01_{name}.nii.gz")
        affine = whole.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
        save(tmp_path / f"{name}.nii.gz", np.asarray(whole.dataobj)[::2, ::2], affine)
    (tmp_path / "c.csv").write_text("case,mr,seg\nx,t2.nii.gz,prostate.nii.gz\n")
    assert prepare(tmp_path / "c.csv", tmp_path / "out", "--require", "mr,seg", "--engine", "simpleitk") == 0
    seg = read_volume(tmp_path / "out/x/seg.nii.gz")
    assert seg.array.sum() * seg.voxel_ml == pytest.approx(
        np.asarray(nib.load(tmp_path / "prostate.nii.gz").dataobj).sum() * seg.voxel_ml
    )
    mask = read_volume(tmp_path / "out/x/mask.nii.gz").array > 0
    assert mask[seg.array > 0].mean() > 0.99
    assert mask.mean() > 0.6
