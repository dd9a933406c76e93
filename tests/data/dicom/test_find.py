# SPDX-License-Identifier: Apache-2.0
"""Which series are found, and why some of them are not volumes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import RTStructureSetStorage, generate_uid

from sfg_med.data.dicom import Series, find_series, read_series, series_at
from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
from tests.data.dicom.series_files import oblique_affine, save, write_series

ARRAY = np.random.default_rng(1).integers(0, 900, (9, 8, 6)).astype(np.uint16)
AFFINE = oblique_affine()


def _write(folder: Path, **more: object) -> Path:
    return write_series(folder, ARRAY, AFFINE, **more)


def _only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def _b_values(folder: Path) -> None:
    for i, b in enumerate((50, 400, 800)):
        _write(folder, name=f"b{b}-{{}}.dcm", change=lambda ds, index, i=i, b=b: _diffusion(ds, index + 10 * i, b))


def _diffusion(ds: Dataset, number: int, b_value: int) -> None:
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["b", str(number)])
    ds.DiffusionBValue = float(b_value)


def _echoes(folder: Path) -> None:
    for i, echo in enumerate((20, 90)):
        _write(folder, name=f"{echo}-{{}}", change=lambda ds, index, i=i, e=echo: _echo(ds, index + 10 * i, e))


def _echo(ds: Dataset, number: int, time: int) -> None:
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["echo", str(number)])
    ds.EchoTime = time


def _without(folder: Path, *heights: int) -> None:
    write_series(folder, np.concatenate([ARRAY, ARRAY], axis=2), AFFINE)
    ordered = _only(folder).files
    for height in heights:
        ordered[height].unlink()


def _planes(folder: Path) -> None:
    _write(folder, change=lambda ds, i: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0, i % 2, 1 - i % 2]))


def _changed(**values: object) -> Callable[[Path], object]:
    """One slice with other values."""

    def change(ds: Dataset, index: int) -> None:
        if index == 2:
            for name, value in values.items():
                setattr(ds, name, value)

    return lambda folder: _write(folder, change=change)


def _all(**values: object) -> Callable[[Path], object]:
    def change(ds: Dataset, index: int) -> None:
        for name, value in values.items():
            setattr(ds, name, value)

    return lambda folder: _write(folder, change=change)


def _copied(folder: Path) -> None:
    _write(folder)
    shutil.copy(folder / "001.dcm", folder / "001 (1).dcm")


def _syntax(folder: Path) -> None:
    _write(folder)
    for path in folder.iterdir():
        ds = dcmread(path)
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG-2: of films
        ds.PixelData = (
            b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x02\x00\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
        )
        ds["PixelData"].is_undefined_length = True
        ds.save_as(path)


def _frames_without_place(folder: Path) -> None:
    _write(folder)
    ds = dcmread(folder / "000.dcm")
    shutil.rmtree(folder)
    folder.mkdir()
    del ds.ImagePositionPatient
    ds.NumberOfFrames, ds.PixelData = 6, ds.PixelData * 6
    save(ds, folder / "frames.dcm")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "b-values": (_b_values, r"18 images at 6 positions: several volumes \(b-values 50, 400, 800\)"),
    "echoes": (_echoes, r"12 images at 6 positions: several volumes \(echo times 20, 90\)"),
    "missing slice": (lambda d: _without(d, 2), r"1 slice missing: 6 mm between \d+.dcm and \d+.dcm, usually 3 mm"),
    "missing slices": (
        lambda d: _without(d, 2, 4),
        r"^2 slices missing in 2 places, the widest: 6 mm between \d+.dcm and \d+.dcm, usually 3 mm",
    ),
    "uneven": (_changed(ImagePositionPatient=[-11.25, 23.5, -37.2]), "uneven slice distances|missing|shifted"),
    "localiser by direction": (_planes, "a localiser: slices in 2 directions"),
    "localiser by number": (lambda d: write_series(d, ARRAY[:, :, :3], AFFINE), "a localiser: only 3 slices"),
    "localiser by type": (_all(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "a localiser, by its image type"),
    "sizes": (_changed(Rows=4), "images of 9 x 8 and of 9 x 4 pixels"),
    "pixel sizes": (_changed(PixelSpacing=[1.3, 1.2]), "pixels of .* and of"),
    "shifted": (lambda d: _write(d, change=_shift), "shifted against each other"),
    "other modality": (_all(Modality="US"), r"not an MR or CT image \(US, MR Image Storage\)"),
    "colour": (_all(SamplesPerPixel=3), "colour"),
    "no position": (_changed(ImagePositionPatient=None), "1 of 6 images without position"),
    "no spacing": (_all(PixelSpacing=[0, 1]), "6 of 6 images without position"),
    "copies": (_copied, "2 files that hold the same images"),
    "syntax": (_syntax, "compressed as MPEG2 Main Profile / Main Level, which cannot be decoded"),
    "frames": (_frames_without_place, "6 of 6 frames without position"),
    "damaged": (lambda d: d.mkdir() or (d / "x.dcm").write_bytes(b"nothing"), r"1 file that cannot be read \(x.dcm"),
}


def _shift(ds: Dataset, index: int) -> None:
    if index == 2:
        x, y, z = map(float, ds.ImagePositionPatient)
        row = np.array(ds.ImageOrientationPatient[:3], float)
        ds.ImagePositionPatient = [f"{v:.10g}" for v in np.array([x, y, z]) + 0.8 * row]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_volume_gets_a_reason(tmp_path, name) -> None:
    make, _ = BAD[name]
    make(tmp_path / "in")
    series = _only(tmp_path / "in")
    assert re.search(BAD[name][1], series.reason), series.reason
    assert series.slices == ()
    with pytest.raises(SfgMedError) as caught:
        read_series(series)
    assert series.reason in str(caught.value)


def test_a_study_in_one_folder_by_content_not_by_name(tmp_path) -> None:
    _write(tmp_path / "a", name="IM{}", uid="t2")
    _write(tmp_path / "a", name="X{}.IMA", uid="other", description="t2 cor / 2")
    (tmp_path / "a" / "notes").write_text("no DICOM")
    (tmp_path / "a" / ".hidden.dcm").write_text("no DICOM")
    _write(tmp_path / "b" / "c", name="{}", uid="t2")
    structures = dcmread(tmp_path / "a" / "IM0")
    for word in ("Rows", "Columns", "PixelData"):
        delattr(structures, word)
    structures.SOPClassUID, structures.Modality, structures.SeriesInstanceUID = (
        RTStructureSetStorage,
        "RTSTRUCT",
        "1.2.9",
    )
    save(structures, tmp_path / "a" / "rt")
    found = find_series(tmp_path)
    assert [(s.folder.name, s.name, s.is_image, bool(s.reason)) for s in found if s.folder.name == "c"] == [
        ("c", "004_t2_tse_tra", True, False)
    ]
    assert sorted((s.name, s.is_image, s.reason) for s in found if s.folder.name == "a") == [
        ("004_t2_cor_2", True, ""),
        ("004_t2_tse_tra", False, "not an MR or CT image (RTSTRUCT, RT Structure Set Storage)"),
        ("004_t2_tse_tra", True, ""),
    ]
    assert len(find_series(tmp_path, recursive=False)) == 0
    # a folder of one series stands for it; of several, one of their files does
    np.testing.assert_array_equal(read_volume(tmp_path / "b" / "c").array, ARRAY)
    with pytest.raises(SfgMedError, match="one DICOM series, found 2"):
        read_volume(tmp_path / "a")
    assert series_at(tmp_path / "a" / "X1.IMA").description == "t2 cor / 2"
    assert read_volume(tmp_path / "a" / "IM1").path == series_at(tmp_path / "a" / "IM1").path


def test_a_directory_of_a_medium_is_no_series(tmp_path) -> None:
    _write(tmp_path)
    ds = dcmread(tmp_path / "000.dcm")
    ds.SOPClassUID = "1.2.840.10008.1.3.10"
    save(ds, tmp_path / "DICOMDIR")
    assert len(_only(tmp_path).files) == 6
