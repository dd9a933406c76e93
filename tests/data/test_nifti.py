# SPDX-License-Identifier: Apache-2.0
"""NIfTI headers that nibabel repairs in silence are refused; what the standard allows is read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError

ARRAY = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8)
PIXDIM = [2.0, 1, 1, 1, 0, 0, 0, 0]


def _write(path: Path, change: Callable[[bytes], bytes] = bytes, order: str = "<", **fields: object) -> Path:
    header = nib.Nifti1Header(endianness=order)
    header.set_sform(np.diag([1.0, 2.0, 3.0, 1.0]), 1)
    content = bytearray(nib.Nifti1Image(ARRAY.astype(f"{order}i2"), None, header).to_bytes())
    for name, value in fields.items():
        dtype, offset = nib.Nifti1Header.template_dtype.fields[name][:2]
        content[offset : offset + dtype.itemsize] = np.asarray(value, dtype.base.newbyteorder(order)).tobytes()
    content = change(bytes(content))
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


REFUSED = {
    "bits that are not the type's": ({"bitpix": 8}, "8 bits a voxel"),
    "half of the slices": ({"dim": [3, 6, 7, 2, 1, 1, 1, 1]}, "after the voxels"),
    "unknown sform code": ({"sform_code": 77}, "sform_code 77"),
    "negative qform code": ({"qform_code": -1}, "qform_code -1"),
    "qfac of a qform that counts": ({"sform_code": 0, "qform_code": 1, "pixdim": PIXDIM}, "qfac"),
    "slope NaN": ({"scl_slope": np.nan}, "a scale of nan"),
    "slope Inf": ({"scl_slope": np.inf}, "a scale of inf"),
    "inter NaN": ({"scl_slope": 1, "scl_inter": np.nan}, "a scale of 1 and nan"),
    "offset in the header": ({"vox_offset": 0}, "byte 0"),
    "offset NaN": ({"vox_offset": np.nan}, "byte nan"),
    "offset of a gigabyte": ({"vox_offset": 2.0**30}, "vox_offset"),
    "offset between bytes": ({"vox_offset": 352.5}, "vox_offset"),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("name", REFUSED)
def test_headers_that_would_be_repaired_are_refused(tmp_path, capfd, name, suffix) -> None:
    fields, said = REFUSED[name]
    with pytest.raises(SfgMedError, match=said):
        read_volume(_write(tmp_path / f"x{suffix}", **fields))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "fields",
    [
        {"scl_slope": 0, "scl_inter": np.nan},
        {"qform_code": 0, "pixdim": PIXDIM},
        {"sform_code": 5},
        {"qform_code": 4},
    ],
)
def test_what_is_not_used_or_allowed_is_read(tmp_path, fields) -> None:
    np.testing.assert_array_equal(read_volume(_write(tmp_path / "x.nii.gz", **fields)).array, ARRAY)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_padding_of_a_block_is_allowed(tmp_path, suffix) -> None:
    path = _write(tmp_path / f"x{suffix}", lambda content: content + bytes(512))
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
    with pytest.raises(SfgMedError, match="after the voxels"):
        read_volume(_write(path, lambda content: content + bytes(513)))


def test_mixed_byte_orders_are_refused(tmp_path) -> None:
    np.testing.assert_array_equal(read_volume(_write(tmp_path / "x.nii", order=">")).array, ARRAY)
    for order in "<>":
        with pytest.raises(SfgMedError, match="dimensions"):
            read_volume(_write(tmp_path / "x.nii", lambda c: c[3::-1] + c[4:], order))


@pytest.mark.parametrize("extension", [b"DOE^JOHN" * 10, b"\xff" * 40])
@pytest.mark.parametrize("size", [16, 32, -7, 2**31 - 1])
def test_extensions_are_skipped_unread(tmp_path, capfd, extension, size) -> None:
    block = b"\1\0\0\0" + np.array([size, 2], "<i4").tobytes() + extension
    block += bytes(-len(block) % 16)
    path = _write(tmp_path / "x.nii.gz", lambda c: c[:348] + block + c[352:], vox_offset=348 + len(block))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert not getattr(volume.header, "extensions", [])
    assert capfd.readouterr() == ("", "")


def test_members_of_a_gzip_file_are_one(tmp_path) -> None:
    content = _write(tmp_path / "x.nii").read_bytes()
    parts = [gzip.compress(content[i : i + 100]) for i in range(0, len(content), 100)]
    (tmp_path / "x.nii.gz").write_bytes(b"".join([*parts, gzip.compress(b"")]))
    np.testing.assert_array_equal(read_volume(tmp_path / "x.nii.gz").array, ARRAY)


def test_a_scale_is_nibabels(tmp_path) -> None:
    path = _write(tmp_path / "x.nii", scl_slope=0.37, scl_inter=-3.3)
    np.testing.assert_array_equal(read_volume(path).array, nib.load(path).get_fdata(dtype=np.float32))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_compressed_file_is_found(tmp_path, at, bit) -> None:
    path = _write(tmp_path / "x.nii.gz")
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        volume = read_volume(path)
    except SfgMedError:
        return
    np.testing.assert_array_equal(volume.array, ARRAY)  # time and system in gzip's header do not matter
