# SPDX-License-Identifier: Apache-2.0
"""Bounds of what is taken for a volume of a patient, the same for every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sfg_med.data.checks import check_affine, check_shape, check_values
from sfg_med.errors import SfgMedError

HERE = Path("x.nii")


@pytest.mark.parametrize("millimetres", [1.001e5, -1e17, np.inf])
def test_far_origins_are_refused(millimetres) -> None:
    affine = np.eye(4)
    affine[1, 3] = 9.9e4
    check_affine(HERE, affine, (9, 9, 9))
    affine[1, 3] = millimetres
    with pytest.raises(SfgMedError, match=r"origin within 100 m|finite affine"):
        check_affine(HERE, affine, (9, 9, 9))


def test_more_voxels_than_the_limit_are_refused(monkeypatch) -> None:
    assert check_shape(HERE, (512, 512, 2048), "MR") == (512, 512, 2048)
    with pytest.raises(SfgMedError, match="at most 536870912 voxels"):
        check_shape(HERE, (1 << 15, 1 << 15, 1 << 15), "MR")
    monkeypatch.setenv("SFG_MED_MAX_VOXELS", "1000")
    assert check_shape(HERE, (10, 10, 10, 1), "MR") == (10, 10, 10)
    with pytest.raises(SfgMedError, match="at most 1000 voxels"):
        check_shape(HERE, (10, 10, 11), "MR")
    monkeypatch.setenv("SFG_MED_MAX_VOXELS", "many")
    with pytest.raises(SfgMedError, match="found many"):
        check_shape(HERE, (10, 10, 10), "MR")


@pytest.mark.parametrize("scale", [1e-40, 1e-32, 1e31, 1e37])
def test_scales_beyond_float32_arithmetic_are_refused(scale) -> None:
    array = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    with pytest.raises(SfgMedError, match="rescale the image"):
        check_values(HERE, array * np.float32(scale), "MR")
    check_values(HERE, array * np.float32(1e-25), "MR")
    check_values(HERE, np.zeros((2, 2, 2)), "mask", blank_ok=True)


def test_messages_are_one_printable_line() -> None:
    line = str(SfgMedError("a\nb\x1b[31m\udcff é", "this", "that", "do"))
    assert line == r"a\nb\x1b[31m\udcff é: expected this, found that; do"
