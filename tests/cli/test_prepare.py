# SPDX-License-Identifier: Apache-2.0
"""``sfg-med prepare`` as a user types it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread

from sfg_med.cli.main import main
from sfg_med.data.cases import Dataset, find_cases
from sfg_med.data.lock import locked
from sfg_med.data.simulation import simulate_case
from sfg_med.data.simulation.case import SimulatedCase
from sfg_med.data.volumes import read_volume
from tests.cli.prediction import SPEC
from tests.data.dicom.series_files import write_series

Prepare = Callable[..., int]
QUICK = ("--registration", "none", "--engine", "simpleitk", "--no-n4")


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Run the entry point; return the exit code."""

    def call(source: Path, output: Path, *options: str) -> int:
        monkeypatch.setattr(sys, "argv", ["sfg-med", "prepare", "-i", str(source), "-o", str(output), *options])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    return call


@pytest.fixture(scope="module")
def man() -> SimulatedCase:
    return simulate_case(2, (10.0, 10.0, 10.0))


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """NIfTI by nibabel, anything else by SimpleITK."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nii.gz"):
        nib.save(nib.Nifti1Image(array, affine), path)
        return
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    flip = np.diag([-1.0, -1.0, 1.0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((flip @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((flip @ affine[:3, 3]).tolist())
    sitk.WriteImage(image, str(path))


def save_man(
    folder: Path, man: SimulatedCase, suffix: str = ".nii.gz", roles: tuple[str, ...] = ("mr", "ct", "seg")
) -> None:
    for role in roles:
        save(folder / f"{role}{suffix}", getattr(man, role), man.affine)


def dropped(output: Path) -> dict[str, str]:
    with (output / "dropped.csv").open(encoding="utf-8", newline="") as file:
        return {row["case"]: row["reason"] for row in csv.DictReader(file)}


def record(output: Path) -> dict[str, dict]:
    return {r["case"]: r for r in json.loads((output / "prepare.json").read_text())["cases"]}


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, prepare: Prepare, man: SimulatedCase, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    import sfg_med.preparation.run as run_module

    for name in ("a", "b", "c"):
        save_man(tmp_path / "in" / name, man)
    write, seen = run_module.write_overview, []

    def interrupt(path: Path, case: str, prepared: object) -> None:
        seen.append(case)
        if seen == ["a", "b"]:
            if number == signal.SIGINT:  # which is ignored where pytest itself runs in the background
                raise KeyboardInterrupt
            signal.raise_signal(number)  # when half of the case's files are written
        write(path, case, prepared)

    monkeypatch.setattr(run_module, "write_overview", interrupt)
    output = tmp_path / "out"
    assert prepare(tmp_path / "in", output, *QUICK) == 130
    assert sorted(p.name for p in output.iterdir()) == [".lock", "a", "dropped.csv", "prepare.json"]
    first = (output / "a/mr.nii.gz").stat().st_mtime_ns
    assert prepare(tmp_path / "in", output, *QUICK) == 0
    assert seen == ["a", "b", "b", "c"]
    assert (output / "a/mr.nii.gz").stat().st_mtime_ns == first
    # a changed input is prepared again, a lost file as well
    save(tmp_path / "in/a/mr.nii.gz", man.mr * 2, man.affine)
    (output / "c/ct.nii.gz").unlink()
    assert prepare(tmp_path / "in", output, *QUICK) == 0
    assert seen[4:] == ["a", "c"]


def test_other_options_are_not_mixed(
    tmp_path: Path, prepare: Prepare, man: SimulatedCase, capsys: pytest.CaptureFixture[str]
) -> None:
    save_man(tmp_path / "in/a", man)
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK, "--quiet") == 0
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK, "--spacing", "12") == 2
    assert "spacing_mm None then, (12.0, 12.0, 12.0) now" in capsys.readouterr().err.replace("[", "(").replace("]", ")")
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK, "--spacing", "12", "--overwrite") == 0
    assert read_volume(tmp_path / "out/a/ct.nii.gz").spacing_mm == pytest.approx((12, 12, 12))


def test_an_interrupted_overwrite_goes_on_without_it_and_mixes_nothing(
    tmp_path: Path,
    prepare: Prepare,
    man: SimulatedCase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import sfg_med.preparation.run as run_module

    source, output = tmp_path / "in", tmp_path / "out"
    for name in "ab":
        save_man(source / name, man, roles=("mr",))
    options = (*QUICK, "--require", "mr")
    assert prepare(source, output, *options) == 0
    write, seen = run_module.write_overview, []

    def interrupt(path: Path, case: str, prepared: object) -> None:
        seen.append(case)
        if seen == ["a", "b"]:
            raise KeyboardInterrupt
        write(path, case, prepared)

    monkeypatch.setattr(run_module, "write_overview", interrupt)
    again = (*options, "--spacing", "12")
    assert prepare(source, output, *again, "--overwrite") == 130
    assert "the same call without --overwrite goes on" in capsys.readouterr().err
    # b is still what it was: neither the former options nor an input without b may let it stay
    assert prepare(source, output, *options) == 2
    assert "spacing_mm [12.0, 12.0, 12.0] then, None now" in capsys.readouterr().err
    save_man(tmp_path / "fewer/a", man, roles=("mr",))
    assert prepare(tmp_path / "fewer", output, *again) == 2
    assert "found 1 of other options that the input lacks (b)" in capsys.readouterr().err
    assert prepare(source, output, *again) == 0
    assert seen == ["a", "b", "b"]
    assert read_volume(output / "b/mr.nii.gz").spacing_mm == pytest.approx((12, 12, 12))
    # the same holds where no option has changed
    seen.clear()
    assert prepare(source, output, *again, "--overwrite") == 130
    assert prepare(source, output, *again) == 0
    assert seen == ["a", "b", "b"]


def test_a_case_that_cannot_be_made_again_leaves_no_folder(
    tmp_path: Path, prepare: Prepare, man: SimulatedCase
) -> None:
    for name in "ab":
        save_man(tmp_path / "in" / name, man, roles=("mr", "ct"))
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK) == 0
    (tmp_path / "in/b/ct.nii.gz").unlink()
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK) == 0, "an input out of reach is no reason to drop a case"
    assert prepare(tmp_path / "in", tmp_path / "out", *QUICK, "--overwrite") == 1
    assert "expected ct, found only mr" in dropped(tmp_path / "out")["b"]
    assert not (tmp_path / "out/b").exists()


def test_a_slice_that_was_written_again_is_seen(tmp_path: Path, prepare: Prepare, man: SimulatedCase) -> None:
    """By folder, and by a file of one of two series."""
    flat, own = tmp_path / "flat", tmp_path / "own"
    write_series(own, man.mr, man.affine)
    for name in ("t1", "t2"):
        write_series(flat, man.mr, man.affine, description=name, uid=name, name=f"{name}_{{:03d}}.dcm")
    (tmp_path / "c.csv").write_text("case,mr\nflat,flat/t2_000.dcm\nown,own\n")
    call = (tmp_path / "c.csv", tmp_path / "out", *QUICK, "--require", "mr")
    assert prepare(*call) == 0

    def rewrite(*paths: Path) -> None:
        for path in paths:
            ds = dcmread(path)
            ds.PixelData = b"\x07" * len(ds.PixelData)
            ds.save_as(path)

    def changed() -> set[str]:
        before = {n: (tmp_path / "out" / n / "mr.nii.gz").stat().st_mtime_ns for n in ("flat", "own")}
        assert prepare(*call) == 0
        return {n for n, t in before.items() if (tmp_path / "out" / n / "mr.nii.gz").stat().st_mtime_ns != t}

    rewrite(flat / "t1_005.dcm")
    assert changed() == set()
    rewrite(flat / "t2_005.dcm", own / "005.dcm")
    assert changed() == {"flat", "own"}


def test_a_patient_who_fails_once_is_not_trained_on_later(tmp_path: Path, prepare: Prepare, man: SimulatedCase) -> None:
    for name in "abc":
        save_man(tmp_path / "in" / name, man, roles=("mr",))
    options = (*QUICK, "--require", "mr")
    assert prepare(tmp_path / "in", tmp_path / "out", *options) == 0
    before = json.loads((tmp_path / "out/splits.json").read_text())
    (tested,) = before["test"]
    (tmp_path / "in" / tested / "mr.nii.gz").write_bytes(b"damaged")
    assert prepare(tmp_path / "in", tmp_path / "out", *options) == 1
    away = json.loads((tmp_path / "out/splits.json").read_text())
    assert away == {**before, "test": [], "absent": {tested: "test"}}
    save_man(tmp_path / "in" / tested, man, roles=("mr",))
    assert prepare(tmp_path / "in", tmp_path / "out", *options) == 0
    assert json.loads((tmp_path / "out/splits.json").read_text()) == before


@pytest.mark.parametrize(
    "options",
    [("--registration", "affine"), ("--engine", "ants"), ("--require", "ct"), ("--spacing", "0"), ("--seg-on", "pet")],
)
def test_a_wrong_option_runs_nothing(tmp_path: Path, prepare: Prepare, options: tuple[str, str], capsys) -> None:
    (tmp_path / "in").mkdir()
    assert prepare(tmp_path / "in", tmp_path / "out", *options) == 2
    assert capsys.readouterr().err.startswith(f"error: {options[0]}: expected")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_stays(tmp_path: Path, prepare: Prepare, man: SimulatedCase, capsys) -> None:
    save_man(tmp_path / "raw" / "man1", man, roles=("mr",))
    save_man(tmp_path / "raw" / "man2", man, roles=("ct",))
    for name in ("man1", "man2"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "thesis.docx").write_text("years")
    assert prepare(tmp_path / "raw", tmp_path / "out", *QUICK, "--require", "mr") == 1
    assert [(tmp_path / "out" / name / "thesis.docx").read_text() for name in ("man1", "man2")] == ["years"] * 2
    assert "move it" in dropped(tmp_path / "out")["man1"]


def test_a_record_cannot_lead_out_of_the_dataset(tmp_path: Path, prepare: Prepare, man: SimulatedCase, capsys) -> None:
    save_man(tmp_path / "raw" / "man1", man, roles=("mr",))
    options = (*QUICK, "--require", "mr")
    assert prepare(tmp_path / "raw", tmp_path / "out", *options) == 0
    (tmp_path / "victim").mkdir()
    record = tmp_path / "out" / "prepare.json"
    good = json.loads(record.read_text())
    for change in ({"case": "../victim"}, {"files": ["../../victim/mr.nii.gz"]}, {"files": None}, {"case": 3}):
        record.write_text(json.dumps({**good, "cases": [{**good["cases"][0], "landmarks": [], **change}]}))
        capsys.readouterr()
        assert prepare(tmp_path / "raw", tmp_path / "out", *options, "--standardise") == 2, change
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert (tmp_path / "victim").is_dir()


def test_one_process_at_a_time_writes(tmp_path: Path, prepare: Prepare, man: SimulatedCase, capsys) -> None:
    save_man(tmp_path / "raw" / "man1", man, roles=("mr",))
    with locked(tmp_path / "out") as mine:
        assert mine
        assert prepare(tmp_path / "raw", tmp_path / "out", *QUICK, "--require", "mr") == 2
    assert f"process {os.getpid()}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "man1").exists()


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
