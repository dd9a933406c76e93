# SPDX-License-Identifier: Apache-2.0
"""A data set on disk: layout, splits, resuming, refusing."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfg_med.data.simulation import simulate_case, simulate_dataset
from sfg_med.errors import SfgMedError

COARSE = (9.0, 9.0, 9.0)
FILES = {"mr.nii.gz", "ct.nii.gz", "seg.nii.gz", "mask.nii.gz", "tissue.nii.gz"}


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.nii.gz"))}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four cases."""
    out = tmp_path_factory.mktemp("simulation") / "four"
    result = simulate_dataset(out, 4, 7, spacing_mm=COARSE)
    assert result.written == ("case000", "case001", "case002", "case003")
    return out


def test_layout_and_headers(four: Path) -> None:
    assert {p.name for p in four.iterdir()} == {
        *(f"case00{i}" for i in range(4)),
        "splits.json",
        "simulation.json",
    }
    case = simulate_case((7, 2), COARSE)
    assert {p.name for p in (four / "case002").iterdir()} == FILES
    for name in ("mr", "ct", "seg", "mask", "tissue"):
        image = nib.load(four / "case002" / f"{name}.nii.gz")
        expected = getattr(case, name)
        assert image.get_data_dtype() == expected.dtype
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), expected)
        for matrix, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
            assert code == 1
            np.testing.assert_allclose(matrix, case.affine, atol=1e-4)


def test_splits_are_disjoint_and_complete(four: Path) -> None:
    splits = json.loads((four / "splits.json").read_text())
    assert list(splits) == ["train", "validation", "test"]
    named = [name for part in splits.values() for name in part]
    assert sorted(named) == [f"case00{i}" for i in range(4)]
    assert all(splits.values())


def test_provenance_says_simulated(four: Path) -> None:
    record = json.loads((four / "simulation.json").read_text())
    assert record["kind"] == "SIMULATED"
    assert record["seed"] == 7
    assert record["spacing_mm"] == list(COARSE)
    assert record["field_of_view"] == "standard"
    assert set(record["cases"]) == {f"case00{i}" for i in range(4)}
    assert record["cases"]["case001"] == simulate_case((7, 1), COARSE).parameters | {
        "anatomy": record["cases"]["case001"]["anatomy"]
    }


def test_a_case_does_not_depend_on_the_number_of_cases_or_jobs(four: Path, tmp_path: Path) -> None:
    simulate_dataset(tmp_path / "two", 2, 7, spacing_mm=COARSE, jobs=2)
    expected = {name: data for name, data in _bytes(four).items() if name[:7] in ("case000", "case001")}
    assert _bytes(tmp_path / "two") == expected


def test_resume_simulates_only_what_is_missing(tmp_path: Path) -> None:
    simulate_dataset(tmp_path, 2, 3, spacing_mm=COARSE)
    before = _bytes(tmp_path)
    (tmp_path / "case000" / "ct.nii.gz").unlink()
    (tmp_path / "case001" / "mr.nii.gz").write_bytes(b"kept as it is")
    seen: list[tuple[str, bool]] = []
    result = simulate_dataset(tmp_path, 3, 3, spacing_mm=COARSE, progress=lambda name, new: seen.append((name, new)))
    assert result.skipped == ("case001",)
    assert result.written == ("case000", "case002")
    assert sorted(seen) == [("case000", True), ("case001", False), ("case002", True)]
    assert _bytes(tmp_path)["case000/ct.nii.gz"] == before["case000/ct.nii.gz"]
    assert (tmp_path / "case001" / "mr.nii.gz").read_bytes() == b"kept as it is"
    simulate_dataset(tmp_path, 2, 3, spacing_mm=COARSE, overwrite=True)
    assert _bytes(tmp_path)["case001/mr.nii.gz"] == before["case001/mr.nii.gz"]


def test_no_half_file_keeps_a_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: nib.Nifti1Image, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        simulate_dataset(tmp_path, 1, 3, spacing_mm=COARSE)
    assert list(tmp_path.rglob("*.nii.gz")) == []
    assert not (tmp_path / "splits.json").exists()


@pytest.mark.parametrize("change", [{"seed": 8}, {"spacing_mm": (10.0, 10.0, 10.0)}, {"field_of_view": "whole"}])
def test_another_simulation_in_the_folder_is_refused(four: Path, change: dict[str, object]) -> None:
    arguments = {"cases": 4, "seed": 7, "spacing_mm": COARSE} | change
    with pytest.raises(SfgMedError, match="--overwrite"):
        simulate_dataset(four, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"cases": 0}, "cases"),
        ({"cases": -2}, "cases"),
        ({"jobs": 0}, "jobs"),
        ({"seed": -1}, "seed"),
        ({"spacing_mm": (3.0, -3.0, 3.0)}, "spacing"),
        ({"field_of_view": "half"}, "field of view"),
    ],
)
def test_impossible_arguments(tmp_path: Path, arguments: dict[str, object], match: str) -> None:
    with pytest.raises(SfgMedError, match=match):
        simulate_dataset(tmp_path / "out", **({"cases": 1, "seed": 0} | arguments))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_output_may_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SfgMedError, match="--out"):
            simulate_dataset(out, 1, 0, spacing_mm=COARSE)


def test_output_may_not_be_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(SfgMedError, match="write permission"):
        simulate_dataset(tmp_path, 1, 0, spacing_mm=COARSE)


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"version": 1}'])
def test_an_unreadable_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "simulation.json").write_text(text)
    with pytest.raises(SfgMedError, match=r"simulation\.json"):
        simulate_dataset(tmp_path, 1, 0, spacing_mm=COARSE)
