# SPDX-License-Identifier: Apache-2.0
"""Models scored on real volumes by the command, from folders to tables."""

from __future__ import annotations

import csv
import json
import locale
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from typer.testing import CliRunner

from pipelines.real_volumes import main
from pipelines.real_volumes_cases import HIPMRI_ORGANS
from pipelines.real_volumes_scores import (
    HEADS,
)
from sfg_med.data.cases import Dataset, find_cases
from sfg_med.errors import SfgMedError
from sfg_med.spec import PELVIS_LABELS, ModelSpec


def _run(*words: object, code: int = 0) -> Any:
    import typer

    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def _rows(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (out / "real_volumes.csv").open(newline="") as file:
        return {(row["model"], f"{row['set']}/{row['case']}"): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def miniature(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and names of the real sets, filled with simulated men; some files are broken or missing."""
    data = tmp_path_factory.mktemp("miniature") / "data"
    spec = ModelSpec()
    men = [_load(case.files) for case in find_cases(Dataset.of(tiny_dataset), spec)]
    affine = men[0]["affine"]
    folder = data / "hipmri_pelvis"
    regions = men[0]["mask"].astype(np.uint8)
    regions[(men[0]["ct"] > 150) & (regions > 0)] = 2
    for organ, value in HIPMRI_ORGANS.items():
        regions[men[0]["seg"] == PELVIS_LABELS[organ]] = value
    _save(folder / "case018_week7_mr.nii.gz", men[0]["mr"], affine)
    _save(folder / "case018_week7_seg.nii.gz", regions, affine)
    folder = data / "promise12"
    lines = ["file,note"]
    for number, man in enumerate(men[:4], 1):
        _save(folder / f"case0{number}_t2.nii.gz", man["mr"], man["affine"])
        _save(folder / f"case0{number}_prostate.nii.gz", (man["seg"] == 1).astype(np.uint8), man["affine"])
        group = "first (one)" if number < 3 else "second (two)"
        lines += [f"case0{number}_{kind}.nii.gz,{group}; more" for kind in ("t2", "prostate")]
    (folder / "case02_t2.nii.gz").write_bytes(b"nothing")
    _save(folder / "case03_prostate.nii.gz", np.ones((3, 3, 3), np.uint8), affine)  # another grid
    (folder / "manifest.csv").write_text("\n".join(lines))
    folder = data / "prostatex_mpmri"
    _save(folder / "px0000_t2.nii.gz", men[4]["mr"], affine)
    _save(folder / "px0000_prostate.nii.gz", (men[4]["seg"] == 1).astype(np.uint8), affine)
    _save(folder / "px0218_t2.nii.gz", men[5]["mr"], affine)
    _save_series(data / "dicom_mr" / "prostate3t_0001_t2_tra", men[4]["mr"], affine)
    _save(data / "dicom_mr" / "prostate3t_0001_prostate.nii.gz", (men[4]["seg"] == 1).astype(np.uint8), affine)
    (data / "dicom_mr" / "prostate3t_0002_t2_tra").mkdir()
    return data


def _load(files: dict[str, Path]) -> dict[str, np.ndarray]:
    return {name: np.asarray(nib.load(path).dataobj) for name, path in files.items()} | {
        "affine": nib.load(files["mr"]).affine
    }


def _save(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def _save_series(folder: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """A DICOM series with the same place in the patient as a NIfTI of these voxels and affine."""
    folder.mkdir(parents=True)
    lps = np.diag([-1.0, -1, 1]) @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    cosines = lps[:, :3] / spacing
    former = locale.setlocale(locale.LC_ALL)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(array.shape[2]):
        image = sitk.GetImageFromArray(np.clip(array[:, :, k].T, 0, None).astype(np.uint16)[None])
        image.SetSpacing([float(s) for s in spacing])
        origin = lps[:, :3] @ (0, 0, k) + lps[:, 3]
        tags = {
            "0008|0060": "MR",
            "0008|0018": f"1.2.3.{k + 1}",
            "0020|000e": "1.2.3",
            "0020|000d": "1.2",
            "0020|0013": str(k),
            "0020|0032": "\\".join(f"{x:.6f}" for x in origin),
            "0020|0037": "\\".join(f"{x:.6f}" for x in (*cosines[:, 0], *cosines[:, 1])),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:03}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, former)  # ITK's DICOM writer leaves the C locale behind, in which text is ASCII


@pytest.mark.slow
def test_from_folders_to_tables(miniature: Path, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("-m", f"new={tiny_run}", "--data", miniature, "--out", out, "--threads", 1, "--device", "cpu")
    said = _run(*words, code=1).stdout
    assert "new promise12/case02: failed" in said
    rows = {case: row for (_, case), row in _rows(out).items()}
    assert next(iter(rows)) == "hipmri/case018_week7"
    assert len(rows) == 1 + 4 + 2 + 3
    errors = {case for case, row in rows.items() if row["error"]}
    assert errors == {"promise12/case02", "promise12/case03", "dicom/prostate3t_0002", "dicom/prostatex0000"}
    assert "case03_prostate" in rows["promise12/case03"]["error"] or "voxels" in rows["promise12/case03"]["error"]
    assert {row["half"] for row in rows.values()} == {"choose", "report"}
    assert rows["promise12/case01"]["group"] == "first"

    # the same man as NIfTI and as DICOM; MR is stored in whole numbers in both
    nifti, dicom = rows["prostatex/px0000"], rows["dicom/prostate3t_0001"]
    for column in ("dice_prostate", "volume_ml_prostate", "centroid_distance_mm_prostate"):
        assert nifti[column] == dicom[column]

    predicted = np.asarray(nib.load(out / "new" / "hipmri" / "case018_week7_seg.nii.gz").dataobj)
    reference = np.asarray(nib.load(miniature / "hipmri_pelvis" / "case018_week7_seg.nii.gz").dataobj)
    hu = np.asarray(nib.load(out / "new" / "hipmri" / "case018_week7_ct.nii.gz").dataobj)
    row = rows["hipmri/case018_week7"]
    for organ, value in HIPMRI_ORGANS.items():
        a, b = predicted == PELVIS_LABELS[organ], reference == value
        assert float(row[f"dice_{organ}"]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-5)
    assert float(row["hu_bone"]) == pytest.approx(hu[reference == 2].mean(), rel=1e-4)
    assert float(row["hu_air"]) == pytest.approx(hu[reference == 0].mean(), rel=1e-4)

    document = json.loads((out / "real_volumes.json").read_text())
    summary = document["models"]["new"]["summary"]
    assert (summary["errors"], summary["promise12"]["all"]["n"]) == (4, 4)
    assert not summary["promise12_complete"]
    assert (out / "real_volumes.svg").read_text().count("PROMISE12") >= 1
    assert len(list((out / "pictures" / "new").glob("*.png"))) == 6
    assert (out / "new" / "qc.html").is_file()

    files = sorted((out / "new").rglob("*_seg.nii.gz"))
    before = [file.stat().st_mtime_ns for file in files]
    _run(*words, "--sets", "hipmri,promise12", "--half", "choose", "--no-pictures", code=1)
    assert [file.stat().st_mtime_ns for file in files] == before, "finished cases are kept"
    assert len(_rows(out)) == 10, "and so are the rows of other sets"
    again = ("-m", f"a={tiny_run}", *words[2:], "--sets", "hipmri", "--no-pictures", "--markdown")
    assert "| goal | wanted | a | new |" in _run(*again, code=0).stdout
    assert _rows(out)["a", "hipmri/case018_week7"]["hu_bone"] == row["hu_bone"]


def test_mistakes_are_one_line(miniature: Path, tiny_run: Path, tmp_path: Path) -> None:
    words = ("--data", miniature, "--out", tmp_path / "out")
    for extra, match in (
        (("--sets", "hipmry"), "hipmri"),
        (("--half", "both"), "choose, report"),
        (("--sets", "hipmri", "--half", "choose"), "only promise12"),
        (("-m", str(tiny_run)), "NAME=MODEL"),
        (("-m", f"a={tiny_run}", "-m", f"a={tiny_run}"), "name of its own"),
        (("-m", f"a/b={tiny_run}"), "plain name"),
        (("-m", "a=missing"), "no such file"),
    ):
        with pytest.raises(SfgMedError, match=match):
            _run(*words, *extra)
    with pytest.raises(SfgMedError, match="no such folder"):
        _run("--data", tmp_path, "--out", tmp_path / "out")


@pytest.mark.slow
@pytest.mark.shared
def test_the_demonstration_model_on_the_real_pelvis(shared_data: Path, tmp_path: Path) -> None:
    _run(
        "--data", shared_data, "--out", tmp_path, "--sets", "hipmri", "--threads", 1, "--device", "cpu", "--no-pictures"
    )
    (row,) = _rows(tmp_path).values()
    assert (row["model"], row["error"]) == ("demonstration", "")
    folder = shared_data / "hipmri_pelvis"
    image = nib.load(folder / "case018_week7_seg.nii.gz")
    reference = np.asarray(image.dataobj)
    predicted = np.asarray(nib.load(tmp_path / "demonstration" / "hipmri" / "case018_week7_seg.nii.gz").dataobj)
    hu = np.asarray(nib.load(tmp_path / "demonstration" / "hipmri" / "case018_week7_ct.nii.gz").dataobj)
    for organ, value in HIPMRI_ORGANS.items():
        a, b = predicted == PELVIS_LABELS[organ], reference == value
        assert float(row[f"dice_{organ}"]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-5)
        ratio = float(row[f"volume_ratio_{organ}"])
        assert ratio == pytest.approx(a.sum() / b.sum(), rel=1e-4)
    for name, value in (("bone", 2), ("soft", 1), ("bladder", 3), ("air", 0)):
        assert float(row[f"hu_{name}"]) == pytest.approx(hu[reference == value].mean(), rel=1e-4)
    middle = nib.affines.apply_affine(image.affine, np.argwhere(reference > 0))[:, 0].mean()
    for head in HEADS:
        place = np.argwhere(predicted == PELVIS_LABELS[head])
        inside = reference[tuple(place.T)] == 2
        assert float(row[f"in_bone_{head}"]) == pytest.approx(inside.mean(), rel=1e-4)
        x = nib.affines.apply_affine(image.affine, place)[:, 0].mean()
        assert float(row[f"left_of_middle_mm_{head}"]) == pytest.approx(middle - x, rel=1e-3)
