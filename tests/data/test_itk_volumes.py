# SPDX-License-Identifier: Apache-2.0
"""MetaImage and NRRD: what ITK makes of good files, and one clear line for those that it half reads."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfg_med.data.volumes import read_volume, write_volume
from sfg_med.errors import SfgMedError

SUFFIXES = [".mha", ".mhd", ".nrrd", ".nhdr"]
ARRAY = np.arange(6 * 7 * 8, dtype=">i2").reshape((6, 7, 8), order="F")
MHA = "ObjectType = Image\nNDims = 3\nElementByteOrderMSB = True\n{}DimSize = 6 7 8\nElementType = MET_SHORT\n"
SPACING = "ElementSpacing = 1 2 3\n"
TURN = "0 1 0 0 0 1 1 0 0\n"
NRRD = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 6 7 8\nendian: big\nencoding: raw\n{}"
AXES = "space directions: (1,0,0) (0,0,2) (0,-3,0)\n"
ORIGIN = "space origin: (1,2,3)\n"


def _mha(path: Path, extra: str = SPACING, data: bytes | None = None, file: str = "LOCAL") -> Path:
    text = MHA.format(extra) + f"ElementDataFile = {file}\n"
    path.write_bytes(text.encode() + (ARRAY.tobytes("F") if data is None else data))
    return path


def _nrrd(path: Path, extra: str, data: bytes | None = None) -> Path:
    path.write_bytes((NRRD.format(extra) + "\n").encode() + (ARRAY.tobytes("F") if data is None else data))
    return path


def _by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]),
    suffix=st.sampled_from(SUFFIXES),
    compress=st.booleans(),
    seed=st.integers(0, 999),
)
def test_all_is_as_itk_reads_it(tmp_path, dtype, suffix, compress, seed) -> None:
    random = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(random.integers(0, 100, random.integers(2, 9, 3)).astype(dtype))
    image.SetSpacing(random.uniform(0.3, 5, 3))
    image.SetOrigin(random.uniform(-500, 500, 3))
    image.SetDirection(np.linalg.qr(random.normal(size=(3, 3)))[0].ravel())
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"), compress)
    array, affine = _by_itk(tmp_path / f"x{suffix}")
    volume = read_volume(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    assert volume.notes == ()


@pytest.mark.parametrize(
    ("extra", "notes"),
    [
        (SPACING, ("no_orientation",)),
        ("ElementSize = 1 2 3\n", ("no_orientation",)),
        (f"TransformMatrix = {TURN}{SPACING}", ("no_orientation",)),
        (f"Offset = 4 5 6\n{SPACING}", ("no_orientation",)),
        (f"Rotation = {TURN}Position = 1 2 3\n{SPACING}", ()),
        (f"Orientation = {TURN}Origin = 1 2 3\nElementSize = 2 2 2\n{SPACING}", ()),
    ],
)
def test_geometry_of_metaimage(tmp_path, extra, notes) -> None:
    _same_as_itk(_mha(tmp_path / "x.mha", extra), notes)


@pytest.mark.parametrize(
    ("extra", "notes"),
    [
        ("spacings: 1 2 3\n", ("no_orientation",)),
        (f"space dimension: 3\n{AXES}{ORIGIN}", ("no_orientation",)),
        (f"space: scanner-xyz\n{AXES}{ORIGIN}", ("no_orientation",)),
        (f"space: LPS\n{AXES}", ("no_orientation",)),
        (f"space: LPS\n{AXES}{ORIGIN}", ()),
        (f"space: right-anterior-superior\n{AXES}{ORIGIN}", ()),
        (f"space: Left-Anterior-Superior\n{AXES}{ORIGIN}# a remark\nkey:=value\n", ()),
    ],
)
def test_geometry_of_nrrd(tmp_path, extra, notes) -> None:
    _same_as_itk(_nrrd(tmp_path / "x.nrrd", extra), notes)


def _same_as_itk(path: Path, notes: tuple[str, ...]) -> None:
    """Also after writing: an assumed place is the same for the image and its results."""
    volume = read_volume(path)
    array, affine = _by_itk(path)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine)
    assert volume.notes == notes
    write_volume(path.with_name("y.nii.gz"), volume.array, volume, np.int16)
    np.testing.assert_allclose(read_volume(path.with_name("y.nii.gz")).affine, affine)


def test_no_voxel_size_is_refused(tmp_path) -> None:
    with pytest.raises(SfgMedError, match="a voxel size"):
        read_volume(_mha(tmp_path / "x.mha", f"TransformMatrix = {TURN}"))
    with pytest.raises(SfgMedError, match="a voxel size"):
        read_volume(_nrrd(tmp_path / "x.nrrd", ""))


PACKED = zlib.compress(ARRAY.tobytes("F"))


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PACKED[:-3], "end too early"),
        (PACKED[:40], "end too early"),
        (b"", "damaged"),
        (PACKED[:60] + bytes([PACKED[60] ^ 4]) + PACKED[61:], "damaged"),
        (PACKED[:-1] + b"\0", "incorrect data check"),
        (PACKED + bytes(513), "after the end"),
        (zlib.compress(ARRAY.tobytes()[:-2]), "670 of 672 bytes"),
        (zlib.compress(ARRAY.tobytes() + bytes(513)), "after the voxels"),
    ],
)
def test_bad_streams_are_refused_and_good_ones_need_no_size(tmp_path, capfd, data, said, declared) -> None:
    size = f"CompressedDataSize = {len(data)}\n" if declared else ""
    path = _mha(tmp_path / "x.mha", f"CompressedData = True\n{size}{SPACING}", data)
    with pytest.raises(SfgMedError, match=said):
        read_volume(path)
    assert capfd.readouterr() == ("", "")
    _mha(path, f"CompressedData = True\n{SPACING}", PACKED)
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)


def test_surplus_of_raw_voxels(tmp_path) -> None:
    data = ARRAY.tobytes("F")
    for path, write, extra in (("x.mha", _mha, SPACING), ("x.nrrd", _nrrd, "spacings: 1 2 3\n")):
        np.testing.assert_array_equal(read_volume(write(tmp_path / path, extra, data + bytes(512))).array, ARRAY)
        with pytest.raises(SfgMedError, match="after the voxels"):
            read_volume(write(tmp_path / path, extra, data + bytes(513)))
        with pytest.raises(SfgMedError, match="cannot hold"):
            read_volume(write(tmp_path / path, extra, data[:200]))


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../secret", "LIST", "%03d.raw 1 8 1", "..", "a\\b"])
def test_headers_do_not_choose_other_files(tmp_path, name) -> None:
    (tmp_path / "secret").write_bytes(ARRAY.tobytes("F"))
    (tmp_path / "in").mkdir()
    mhd = _mha(tmp_path / "in" / "x.mhd", SPACING, b"", name)
    nhdr = _nrrd(tmp_path / "in" / "x.nhdr", f"spacings: 1 2 3\ndata file: {name}\n", b"")
    for path in (mhd, nhdr):
        with pytest.raises(SfgMedError, match="a plain name in the same folder"):
            read_volume(path)


def test_data_files_lie_beside_detached_headers_only(tmp_path) -> None:
    (tmp_path / "my voxels.raw").write_bytes(ARRAY.tobytes("F"))
    extra = "spacings: 1 2 3\ndata file: my voxels.raw\n"
    for path in (
        _mha(tmp_path / "x.mhd", SPACING, b"", "my voxels.raw"),
        _nrrd(tmp_path / "x.nhdr", extra, b""),
        _mha(tmp_path / "local.mhd"),
    ):
        np.testing.assert_array_equal(read_volume(path).array, ARRAY)
    for path in (_mha(tmp_path / "x.mha", SPACING, b"", "my voxels.raw"), _nrrd(tmp_path / "x.nrrd", extra, b"")):
        with pytest.raises(SfgMedError, match="in one file"):
            read_volume(path)
    (tmp_path / "folder").mkdir()
    for name, said in (("folder", "a folder"), ("absent.raw", "no such file")):
        with pytest.raises(SfgMedError, match=said):
            read_volume(_mha(tmp_path / "x.mhd", SPACING, b"", name))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("NDims = 3", "NDims = 0", "NDims = 0"),
        ("NDims = 3", "NDims = 3\nNDims = 4", "two values"),
        ("DimSize = 6 7 8", "DimSize = 6 7 -8", "not 3 sizes"),
        ("DimSize = 6 7 8", "DimSize = 6 7", "not 3 sizes"),
        ("ElementSpacing = 1 2 3", "ElementSpacing = 1 2", "not 3 numbers"),
        ("ElementSpacing = 1 2 3", "ElementSpacing = 1 nan 3", "voxel size"),
        ("MET_SHORT", "MET_OTHER", "a known voxel type"),
        ("ElementSpacing", "DistanceUnits = cm\nElementSpacing", "lengths in mm"),
        ("ElementSpacing", "HeaderSize = -1\nElementSpacing", "HeaderSize"),
        ("ElementSpacing", "BinaryData = False\nElementSpacing", "BinaryData"),
        ("ElementByteOrderMSB = True", "ElementByteOrderMSB = maybe", "maybe"),
        ("ElementDataFile", "X = 1\n" * 11000 + "ElementDataFile", "does not end"),
    ],
)
def test_wrong_metaimage_headers(tmp_path, old, new, said) -> None:
    path = _mha(tmp_path / "x.mha")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(SfgMedError, match=said):
        read_volume(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("NRRD0004", "NRRD0009", "something else"),
        ("sizes: 6 7 8", "sizes: 6 7", "not 3 sizes"),
        ("sizes: 6 7 8", "sizes 6 7 8", "the line"),
        ("encoding: raw", "encoding: ascii", "raw or gzip"),
        ("endian: big", "endian: middle", "endian"),
        ("type: int16", "type: block", "a known voxel type"),
        ("encoding: raw", "encoding: raw\nbyte skip: -1", "byte skip"),
        ("encoding: raw", 'encoding: raw\nspace units: "m" "m" "m"', "lengths in mm"),
        ("encoding: raw", "encoding: raw\nspace orgin: (1,2,3)", "the line"),
        ("(0,0,2)", "(0,nan,2)", "voxel size"),
        ("(0,0,2)", "none", "channels"),
        ("(0,0,2)", "(0,0,2", "space directions"),
        ("(0,0,2)", "(1,0,0)", "singular"),
    ],
)
def test_wrong_nrrd_headers(tmp_path, old, new, said) -> None:
    path = _nrrd(tmp_path / "x.nrrd", f"space: LPS\n{AXES}{ORIGIN}")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(SfgMedError, match=said):
        read_volume(path)


def test_one_component_is_no_channel(tmp_path) -> None:
    path = _nrrd(tmp_path / "x.nrrd", f"space: LPS\n{AXES.replace(': ', ': none ')}{ORIGIN}")
    content = path.read_bytes().replace(b"dimension: 3", b"dimension: 4").replace(b"sizes: 6", b"sizes: 1 6")
    path.write_bytes(content)
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
