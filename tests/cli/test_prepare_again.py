# SPDX-License-Identifier: Apache-2.0
"""``sfg-med prepare`` a second time, after an end, with other options, or beside others: nothing is mixed or lost."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from pydicom import dcmread

from sfg_med.data.lock import locked
from sfg_med.data.simulation.case import SimulatedCase
from sfg_med.data.volumes import read_volume
from tests.cli.preparing import QUICK, Prepare, dropped, save, save_man
from tests.data.dicom.series_files import write_series


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
