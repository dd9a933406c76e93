# SPDX-License-Identifier: Apache-2.0
"""Files that are almost DICOM: each is a series with a reason, or an error of one line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from sfg_med.data.dicom import find_series, read_series
from sfg_med.errors import SfgMedError
from tests.data.dicom.series_files import oblique_affine, save, write_series

ARRAY = np.random.default_rng(1).integers(0, 900, (9, 8, 6)).astype(np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_series(tmp_path / "series", ARRAY, oblique_affine())


def _reason(folder: Path) -> str:
    """Why nothing is read; "" if a volume is."""
    found = [series for series in find_series(folder) if series.is_image]
    reasons = [series.reason for series in found if series.reason]
    for series in found:
        try:
            read_series(series)
        except SfgMedError as error:
            reasons.append(str(error))
    return "; ".join(reasons) if found else "no image"


@pytest.mark.parametrize("seed", range(60))
def test_changed_bytes_never_escape(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    path = sorted(folder.iterdir())[2]
    content = bytearray(path.read_bytes())
    for _ in range(1 + seed % 4):
        content[random.integers(132, len(content) - 2 * ARRAY[:, :, 0].size)] = random.integers(256)
    path.write_bytes(content[: random.integers(140, len(content))] if seed % 5 == 0 else content)
    _reason(folder)


@pytest.mark.parametrize("count", [-3, 10_001, 2_000_000_000])
def test_frames_that_a_file_cannot_hold(folder: Path, count: int) -> None:
    path = sorted(folder.iterdir())[0]
    dataset = dcmread(path)
    dataset.NumberOfFrames = count
    save(dataset, path)
    assert f"{count} frames" in _reason(folder)


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        *(("Rows", 30, "other sizes"), ("Rows", 45, "excess padding"), ("NumberOfFrames", 2, "without position")),
        *(("RescaleIntercept", 1e15, "blank"), ("RescaleSlope", 1e300, "beyond float32")),
    ],
)
def test_values_that_do_not_fit_the_pixels(tmp_path: Path, tag: str, value: float, said: str) -> None:
    array = np.random.default_rng(1).integers(0, 900, (40, 60, 6)).astype(np.uint16)
    folder = write_series(tmp_path, array, oblique_affine())
    for path in folder.iterdir():
        dataset = dcmread(path)
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        setattr(dataset, tag, value)
        save(dataset, path)
    assert said in _reason(folder)


def test_volumes_above_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFG_MED_MAX_VOXELS", "400")
    assert "at most 400 voxels" in _reason(folder)


def test_pipes_are_not_opened(folder: Path) -> None:
    """Nobody writes into them: to open one would wait for ever."""
    os.mkfifo(folder / "pipe")
    assert _reason(folder) == ""
    os.mkfifo(folder / "pipe.dcm")
    (folder / "loop.dcm").symlink_to("loop.dcm")
    reason = _reason(folder)
    assert "2 files that cannot be read (loop.dcm" in reason


def test_a_folder_in_a_circle_is_entered_once(folder: Path) -> None:
    (folder / "up").symlink_to(folder.parent)
    (folder.parent / "again").symlink_to(folder)
    assert [series.folder.name for series in find_series(folder.parent)] == ["again"]
