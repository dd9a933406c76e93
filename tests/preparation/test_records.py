# SPDX-License-Identifier: Apache-2.0
"""By what a changed input is known; DICOM series are in tests/cli/test_prepare_again.py."""

from __future__ import annotations

from pathlib import Path

from sfg_med.preparation.inputs import Source
from sfg_med.preparation.records import inputs_of


def test_data_beside_a_header_belong_to_it(tmp_path: Path) -> None:
    for name in ("x.mhd", "x.raw", "y.mhd", "y.raw", "z.nii.gz"):
        (tmp_path / name).write_bytes(b"1")
    source = Source("x", "x", {"mr": tmp_path / "x.mhd", "ct": tmp_path / "z.nii.gz", "seg": tmp_path / "gone.nrrd"})
    before = inputs_of(source)
    assert before["seg"] == [str(tmp_path / "gone.nrrd"), None]
    (tmp_path / "y.raw").write_bytes(b"12")
    assert inputs_of(source) == before
    (tmp_path / "x.raw").write_bytes(b"12")
    after = inputs_of(source)
    assert after["mr"] != before["mr"]
    assert after["ct"] == before["ct"]
