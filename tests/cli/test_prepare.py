# SPDX-License-Identifier: Apache-2.0
"""``sfg-med prepare`` as a user types it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from sfg_med.data.cases import Dataset, find_cases
from sfg_med.data.simulation.case import SimulatedCase
from sfg_med.data.volumes import read_volume
from tests.cli.prediction import SPEC
from tests.cli.preparing import QUICK, Prepare, dropped, record, save, save_man
from tests.data.dicom.series_files import write_series


def test_one_man_in_three_formats_gives_one_dataset(tmp_path: Path, prepare: Prepare, man: SimulatedCase) -> None:
    suffixes = (".nii.gz", ".mha", ".nrrd")
    for suffix in suffixes:
        save_man(tmp_path / "in" / f"case{suffix.replace('.', '_')}", man, suffix)
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK) == 0
    cases = find_cases(Dataset.of(tmp_path / "out"), SPEC)
    assert len(cases) == 3
    for case in cases:
        folder = tmp_path / "out" / case.name
        for role in ("mr", "ct", "seg"):
            found = read_volume(folder / f"{role}.nii.gz")
            np.testing.assert_allclose(found.affine, man.affine, atol=1e-4)
            # nothing is resampled on the MR's own grid; in the CT only air around the body may change
            kept = man.mask > 0 if role == "ct" else np.ones(man.mr.shape, bool)
            np.testing.assert_array_equal(found.array[kept], getattr(man, role)[kept])
        mask = read_volume(folder / "mask.nii.gz").array > 0
        assert 2 * (mask & (man.mask > 0)).sum() / (mask.sum() + man.mask.sum()) > 0.95
        assert (folder / "overview.png").read_bytes()[:4] == b"\x89PNG"
    splits = json.loads((tmp_path / "out" / "splits.json").read_text())
    assert sorted(len(part) for part in splits.values()) == [1, 1, 1]
    assert {p.name for p in (tmp_path / "out").glob(".*")} == {".lock"}


def test_bad_cases_are_dropped_in_one_line_each(
    tmp_path: Path, prepare: Prepare, man: SimulatedCase, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    save_man(root / "good", man)
    save_man(root / "no_ct", man, roles=("mr",))
    save_man(root / "damaged", man)
    (root / "damaged/mr.nii.gz").write_bytes(b"not an image at all" * 40)
    save_man(root / "ct_twice", man, roles=("ct",))
    save(root / "ct_twice/mr.nii.gz", man.ct, man.affine)
    save_man(root / "mr_twice", man, roles=("mr",))
    save(root / "mr_twice/ct.nii.gz", man.mr, man.affine)
    assert prepare(root, tmp_path / "out", *QUICK) == 1
    reasons = dropped(tmp_path / "out")
    assert set(reasons) == {"no_ct", "damaged", "ct_twice", "mr_twice"}
    assert "expected ct, found only mr" in reasons["no_ct"]
    assert "MR image in NIfTI format, found something else" in reasons["damaged"]
    assert "expected an MR, whose signal is not negative" in reasons["ct_twice"]
    assert "expected a CT in HU" in reasons["mr_twice"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dropped: ")]
    assert len(lines) == 4
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == ["good"]


@pytest.mark.parametrize(
    "options",
    [("--registration", "affine"), ("--engine", "ants"), ("--require", "ct"), ("--spacing", "0"), ("--seg-on", "pet")],
)
def test_a_wrong_option_runs_nothing(tmp_path: Path, prepare: Prepare, options: tuple[str, str], capsys) -> None:
    (tmp_path / "in").mkdir()
    assert prepare(tmp_path / "in", tmp_path / "out", *options) == 2
    assert capsys.readouterr().err.startswith(f"error: {options[0]}: expected")
    assert not (tmp_path / "out").exists()


def test_standardisation_is_fitted_on_training_cases_only(
    tmp_path: Path, prepare: Prepare, man: SimulatedCase, capsys: pytest.CaptureFixture[str]
) -> None:
    gains = {"a": 1.0, "b": 2.0, "c": 5.0, "d": 0.5}
    for name, gain in gains.items():
        save_man(tmp_path / "in" / name, man, roles=("mr",))
        save(tmp_path / "in" / name / "mr.nii.gz", (man.mr * gain).astype(np.float32), man.affine)
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK, "--require", "mr", "--standardise") == 0
    out = tmp_path / "out"
    facts = json.loads((out / "standardisation.json").read_text())
    assert facts["training_cases"] == json.loads((out / "splits.json").read_text())["train"]
    images = {name: read_volume(out / name / "mr.nii.gz").array for name in gains}
    for name in gains:  # a gain is all that differs, and it goes
        np.testing.assert_allclose(images[name], images["a"], atol=0.5)
        np.testing.assert_allclose(
            read_volume(out / name / "mr_unstandardised.nii.gz").array, man.mr * gains[name], rtol=1e-5
        )
    # a later call may not add raw images
    assert prepare(tmp_path / "in", out, *QUICK, "--require", "mr") == 2
    assert "expected --standardise or --landmarks, as before, found neither, and 4 cases" in capsys.readouterr().err
    # the same scale on new cases, without a fit
    save_man(tmp_path / "new/z", man, roles=("mr",))
    scale = str(out / "standardisation.json")
    assert prepare(tmp_path / "new", tmp_path / "z", *QUICK, "--require", "mr", "--landmarks", scale) == 0
    np.testing.assert_allclose(read_volume(tmp_path / "z/z/mr.nii.gz").array, images["a"], atol=0.5)
    assert prepare(tmp_path / "new", tmp_path / "z", *QUICK, "--require", "mr", "--landmarks", scale) == 0
    # raw again: all of them
    assert prepare(tmp_path / "new", tmp_path / "z", *QUICK, "--require", "mr", "--overwrite") == 0
    np.testing.assert_array_equal(read_volume(tmp_path / "z/z/mr.nii.gz").array, man.mr)


def test_a_shorter_ct_shortens_the_case_and_organs_on_it_move_along(
    tmp_path: Path, prepare: Prepare, man: SimulatedCase, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "mr.nii.gz", man.mr, man.affine)
    shift = man.affine.copy()
    shift[:3, 3] += man.affine[:3, :3] @ (0, 0, 4)
    save(tmp_path / "ct.mha", man.ct[..., 4:], shift)
    save(tmp_path / "seg.mha", man.seg[..., 4:], shift)
    (tmp_path / "cases.csv").write_text("case,patient,mr,ct,seg\nx,p,mr.nii.gz,ct.mha,seg.mha\n")
    options = ("--seg-on", "ct", "--json")
    assert prepare(tmp_path / "cases.csv", tmp_path / "out", *QUICK, *options) == 0
    assert json.loads(capsys.readouterr().out)["flagged"] == 1
    assert record(tmp_path / "out")["x"]["flags"] == ["fewer_slices_in_ct"]
    for role in ("mr", "seg"):
        found = read_volume(tmp_path / f"out/x/{role}.nii.gz")
        np.testing.assert_array_equal(found.array, getattr(man, role)[..., 4:])
        np.testing.assert_allclose(found.affine, shift, atol=1e-4)


def test_a_mask_that_is_short_is_not_the_ct_s_fault(tmp_path: Path, prepare: Prepare, man: SimulatedCase) -> None:
    save_man(tmp_path / "in/x", man)
    mask = man.mask.copy()
    mask[..., :3] = 0
    save(tmp_path / "in/x/mask.nii.gz", mask, man.affine)
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK) == 0
    assert record(tmp_path / "out")["x"]["flags"] == []
    np.testing.assert_array_equal(read_volume(tmp_path / "out/x/mr.nii.gz").array, man.mr)


def test_dicom_series_give_what_volumes_give(
    tmp_path: Path, prepare: Prepare, man: SimulatedCase, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "in"
    for name in ("p1", "p2"):
        write_series(root / name / "mr", man.mr, man.affine, uid=f"{name} mr")
        plan = {"modality": "CT", "description": "Pelvis", "rescale": (1.0, -1024.0), "uid": f"{name} ct"}
        write_series(root / name / "plan", man.ct + np.int16(1024), man.affine, **plan)
    write_series(root / "p1/short", man.mr, man.affine, description="t2_tse_sag", uid="short")
    sorted((root / "p1/short").iterdir(), key=lambda file: dcmread(file).ImagePositionPatient[2])[5].unlink()
    write_series(root / "p2/again", man.mr, man.affine, description="t2_tse_tra_2", uid="again")
    assert prepare(root, tmp_path / "out", *QUICK) == 1
    for role in ("mr", "ct"):
        found = read_volume(tmp_path / f"out/p1/{role}.nii.gz")
        np.testing.assert_allclose(found.affine, man.affine, atol=1e-3)
        kept = man.mask > 0
        np.testing.assert_array_equal(found.array[kept], getattr(man, role)[kept])
    with (tmp_path / "out/dropped.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["case"], row["what"]): row["reason"] for row in csv.DictReader(file)}
    assert "missing" in rows["p1", "series 004_t2_tse_sag"] or "gap" in rows["p1", "series 004_t2_tse_sag"]
    assert "expected one MR series, found 2" in rows["p2", "case"]
    words = " ".join(capsys.readouterr().out.translate({ord(line): " " for line in "│┃"}).split())
    assert "case series reason" in words
    assert "p1 004_t2_tse_sag" in words
    # a CSV says which one is wanted
    (tmp_path / "c.csv").write_text("case,mr,ct\np2,in/p2/again,in/p2/plan\n")
    assert prepare(tmp_path / "c.csv", tmp_path / "out", *QUICK) == 0
    # the wrong modality is known by the header
    (tmp_path / "d.csv").write_text("case,mr,ct\np3,in/p2/plan,in/p2/again\n")
    assert prepare(tmp_path / "d.csv", tmp_path / "wrong", *QUICK) == 1
    assert "expected modality MR, found modality CT" in dropped(tmp_path / "wrong")["p3"]
