# SPDX-License-Identifier: Apache-2.0
"""Reading and writing volumes: geometry, formats, and one clear line for everything that is wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from sfg_med.data.atomic import atomic_path, remove_leftovers, write_json
from sfg_med.data.volumes import read_volume, volume_stem, volume_suffix, write_volume
from sfg_med.errors import SfgMedError

AFFINE = np.array([[0, -1.5, 0.1, 20.0], [1.2, 0, 0, -30.0], [0, 0, 3.0, 40.0], [0, 0, 0, 1]])


def _array(shape: tuple[int, ...] = (6, 7, 8), dtype: object = np.int16) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def _nifti(path: Path, array: np.ndarray | None = None, change: Callable | None = None, **fields: object) -> Path:
    """Save, then change header fields in the bytes, which nibabel would refuse to write."""
    array = _array() if array is None else array
    image = nib.Nifti1Image(array, AFFINE)
    content = bytearray(image.to_bytes())
    for name, value in fields.items():
        dtype, offset = nib.Nifti1Header.template_dtype.fields[name][:2]
        content[offset : offset + dtype.itemsize] = np.asarray(value, dtype.base).tobytes()
    if change:
        content = change(content)
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


def _float(path: Path, value: float) -> Path:
    array = _array(dtype=np.float32)
    array[1, 2, 3] = value
    return _nifti(path, array)


def _itk(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def _header(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


def _sitk(components: int = 1, shape: tuple[int, ...] = (8, 7, 6)) -> sitk.Image:
    array = _array((*shape, components) if components > 1 else shape)
    return sitk.GetImageFromArray(array, isVector=components > 1)


def _pixdim(*zooms: float) -> np.ndarray:
    return np.array([1, *zooms, 1, 0, 0, 0], np.float32)


SINGULAR = {"srow_x": [1, 0, 0, 0], "srow_y": [2, 0, 0, 0], "srow_z": [0, 0, 1, 0]}
RGB = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])

BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda d: d / "x.nii.gz", "no such file"),
    "folder": (lambda d: (d / "x.nii.gz").mkdir() or d / "x.nii.gz", "a folder"),
    "empty file": (lambda d: (d / "x.nii.gz").touch() or d / "x.nii.gz", "an empty file"),
    "text": (lambda d: (d / "x.nii").write_text("no image " * 100) and d / "x.nii", "something else"),
    "text named mha": (lambda d: (d / "x.mha").write_text("no image " * 100) and d / "x.mha", "something else"),
    "picture": (lambda d: (d / "x.png").write_bytes(b"\x89PNG") and d / "x.png", ".png"),
    "truncated gzip": (
        lambda d: _nifti(d / "x.nii.gz", np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype("i2")),
        "damaged",
    ),
    "truncated nii": (lambda d: _nifti(d / "x.nii", change=lambda c: c[:500]), "damaged"),
    "header only": (lambda d: _nifti(d / "x.nii", change=lambda c: c[:200]), "something else"),
    "corrupt gzip": (lambda d: _nifti(d / "x.nii.gz"), "damaged"),
    "NaN": (lambda d: _float(d / "x.nii.gz", np.nan), "1 that are NaN"),
    "Inf": (lambda d: _float(d / "x.nii.gz", np.inf), "1 that are NaN, Inf"),
    "overflow": (lambda d: _nifti(d / "x.nii", _array(dtype=np.float64) * 1e300), "beyond float32"),
    "constant": (
        lambda d: _nifti(d / "x.nii.gz", np.full((4, 5, 6), 7, np.int16)),
        "the value 7 in every voxel",
    ),
    "zero spacing": (lambda d: _nifti(d / "x.nii", pixdim=_pixdim(1, 0, 1)), "voxel size of 1 x 0 x 1"),
    "negative spacing": (lambda d: _nifti(d / "x.nii", pixdim=_pixdim(1, -2, 1)), "voxel size of 1 x -2 x 1"),
    "NaN spacing": (lambda d: _nifti(d / "x.nii", pixdim=_pixdim(1, 1, np.nan)), "voxel size of 1 x 1 x nan"),
    "singular": (lambda d: _nifti(d / "x.nii", **SINGULAR), "singular"),
    "NaN affine": (lambda d: _nifti(d / "x.nii", srow_x=[np.nan, 0, 0, 0]), "NaN or Inf"),
    "huge": (lambda d: _nifti(d / "x.nii", srow_x=[1000, 0, 0, 0], srow_y=[0, 1000, 0, 0]), "field of view"),
    "frames": (lambda d: _nifti(d / "x.nii.gz", _array((4, 5, 6, 2))), "several frames"),
    "vector": (lambda d: _nifti(d / "x.nii.gz", _array((4, 5, 6, 1, 3))), "several frames"),
    "2D": (lambda d: _nifti(d / "x.nii.gz", _array((4, 5))), "2D"),
    "no voxels": (lambda d: _nifti(d / "x.nii", dim=[3, 0, 5, 6, 1, 1, 1, 1]), "an empty one"),
    "negative size": (lambda d: _nifti(d / "x.nii", dim=[3, -4, 5, 6, 1, 1, 1, 1]), "dimensions"),
    "RGB": (lambda d: _nifti(d / "x.nii.gz", RGB), "colour"),
    "complex": (lambda d: _nifti(d / "x.nii.gz", _array(dtype=np.complex64)), "complex"),
    "unknown type": (lambda d: _nifti(d / "x.nii", datatype=77), "type code 77"),
    "unknown unit": (lambda d: _nifti(d / "x.nii", xyzt_units=5), "unit code 5"),
    "pair": (lambda d: _nifti(d / "x.nii", magic=b"ni1"), "half of a pair"),
    "bad quaternion": (lambda d: _nifti(d / "x.nii", sform_code=0, qform_code=1, quatern_b=3.0), "damaged"),
    "mha vector": (lambda d: _itk(d / "x.mha", _sitk(3)), "one real number a voxel"),
    "mha 2D": (lambda d: _itk(d / "x.mha", _sitk(shape=(7, 6))), "2D"),
    "mha frames": (lambda d: _itk(d / "x.mha", _sitk(shape=(2, 8, 7, 6))), "several frames"),
    "mha truncated": (lambda d: _itk(d / "x.mha", _sitk()), "damaged"),
    "mha zero spacing": (
        lambda d: _header(_itk(d / "x.mha", _sitk()), b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1"),
        "voxel size",
    ),
    "mha complex": (lambda d: _itk(d / "x.nrrd", sitk.Cast(_sitk(), sitk.sitkFloat32) * float("nan")), "NaN"),
    "nhdr without data": (lambda d: _itk(d / "x.nhdr", _sitk()), "no such file"),
}


def _break(name: str, path: Path) -> None:
    content = path.read_bytes() if path.is_file() else b""
    if name in ("truncated gzip", "mha truncated"):
        path.write_bytes(content[: len(content) * 2 // 3])
    elif name == "corrupt gzip":
        path.write_bytes(content[:-8] + bytes(4) + content[-4:])
    elif name == "nhdr without data":
        path.with_suffix(".raw").unlink(missing_ok=True)
        path.with_suffix(".raw.gz").unlink(missing_ok=True)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(tmp_path, name, capfd) -> None:
    make, said = BAD[name]
    path = make(tmp_path)
    _break(name, path)
    with pytest.raises(SfgMedError, match=said) as caught:
        read_volume(path)
    line = str(caught.value)
    assert path.name in line
    assert "\n" not in line
    assert "0x" not in line  # addresses of ITK's objects
    assert len(line) - len(str(path)) < 300
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, ">i2", np.uint16, np.float64, np.float32, np.int64])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_types_and_compression(tmp_path, dtype, suffix) -> None:
    array = _array(dtype=np.uint8).astype(dtype)
    nib.save(nib.Nifti1Image(array, AFFINE, dtype=array.dtype), tmp_path / f"x{suffix}")
    volume = read_volume(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == (np.float32 if np.dtype(dtype).kind == "f" else np.dtype(dtype).newbyteorder("="))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(volume.voxel_ml, 1.2 * 1.5 * 3.0 / 1000, rtol=1e-5)


def test_scaled_voxels_become_float32(tmp_path) -> None:
    path = _nifti(tmp_path / "x.nii", scl_slope=0.5, scl_inter=-3.0)
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, nib.load(path).get_fdata())


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
def test_units_of_length(tmp_path, code, factor) -> None:
    rows = {"xyz"[i]: AFFINE[i] / factor for i in range(3)}
    path = _nifti(
        tmp_path / "x.nii",
        xyzt_units=code,
        pixdim=_pixdim(*np.array([1.2, 1.5, 3.0]) / factor),
        **{f"srow_{k}": v for k, v in rows.items()},
    )
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5, atol=1e-5)
    write_volume(tmp_path / "y.nii.gz", volume.array, volume, np.int16)
    np.testing.assert_array_equal(nib.load(tmp_path / "y.nii.gz").affine, nib.load(path).affine)
    np.testing.assert_allclose(read_volume(tmp_path / "y.nii.gz").affine, AFFINE, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_itk_formats_lie_where_itk_says(tmp_path, suffix) -> None:
    image = sitk.GetImageFromArray(_array((8, 7, 6)))
    image.SetSpacing((1.2, 1.5, 3.0))
    image.SetOrigin((-11.0, 22.0, 33.0))
    image.SetDirection((0.0, -0.8, 0.6, 1.0, 0.0, 0.0, 0.0, 0.6, 0.8))
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
    volume = read_volume(tmp_path / f"x{suffix}")
    assert volume.array.shape == (6, 7, 8)
    for index in [(0, 0, 0), (5, 2, 7), (1, 6, 3)]:
        assert volume.array[index] == image.GetPixel(index)
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(volume.affine[:3, :3] @ index + volume.affine[:3, 3], lps * [-1, -1, 1])
    write_volume(tmp_path / "y.nii.gz", volume.array, volume, np.int16)
    again = sitk.ReadImage(str(tmp_path / "y.nii.gz"))  # an independent reader of NIfTI
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(image))
    for name in ("Spacing", "Origin", "Direction"):
        np.testing.assert_allclose(getattr(again, f"Get{name}")(), getattr(image, f"Get{name}")(), atol=1e-5)


def test_nifti2_and_wrongly_named_compression(tmp_path) -> None:
    nib.save(nib.Nifti2Image(_array(), AFFINE), tmp_path / "two.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nii").array, _array())
    (tmp_path / "plain.nii.gz").write_bytes(nib.Nifti1Image(_array(), AFFINE).to_bytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "plain.nii.gz").array, _array())


@pytest.mark.parametrize("name", ["a.nii", "b.nii", "c.mha", "d.nrrd"])
def test_damaged_headers_are_refused_or_read_but_never_crash(tmp_path, name) -> None:
    if name == "b.nii":
        nib.save(nib.Nifti2Image(_array(), AFFINE), tmp_path / name)
    elif name == "a.nii":
        nib.save(nib.Nifti1Image(_array(), AFFINE), tmp_path / name)
    else:
        _itk(tmp_path / name, _sitk())
    whole = (tmp_path / name).read_bytes()
    header = {"a.nii": 352, "b.nii": 544}.get(name, 350)
    random = np.random.default_rng(0)
    refused = []
    for _ in range(300):
        content = bytearray(whole)
        for position in random.integers(0, header, random.integers(1, 4)):
            content[position] = random.integers(256)
        (tmp_path / name).write_bytes(content)
        try:
            volume = read_volume(tmp_path / name)
        except SfgMedError as error:
            refused.append(str(error))
        else:
            write_volume(tmp_path / "out.nii.gz", volume.array, volume, np.int16)
            assert nib.load(tmp_path / "out.nii.gz").shape == volume.shape
    assert 10 < len(refused) < 300
    assert not any("\n" in line for line in refused)


def test_big_endian(tmp_path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_sform(AFFINE, 2)
    nib.save(nib.Nifti1Image(_array().astype(">i2"), None, header), tmp_path / "x.nii")
    assert (tmp_path / "x.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    volume = read_volume(tmp_path / "x.nii")
    np.testing.assert_array_equal(volume.array, _array())
    write_volume(tmp_path / "y.nii.gz", volume.array, volume, np.int16)
    again = nib.load(tmp_path / "y.nii.gz")
    np.testing.assert_array_equal(again.affine, nib.load(tmp_path / "x.nii").affine)
    np.testing.assert_array_equal(np.asarray(again.dataobj), _array())


@pytest.mark.parametrize("qfac", [-1, 0, 1])
def test_qform_only_with_any_qfac(tmp_path, capfd, qfac) -> None:
    pixdim = _pixdim(1, 2, 3)
    pixdim[0] = qfac
    path = _nifti(tmp_path / "x.nii", sform_code=0, qform_code=1, quatern_b=0.6, quatern_c=0.0, pixdim=pixdim)
    volume = read_volume(path)
    assert capfd.readouterr() == ("", "")
    write_volume(tmp_path / "y.nii.gz", volume.array, volume, np.int16)
    before, after = nib.load(path), nib.load(tmp_path / "y.nii.gz")
    np.testing.assert_array_equal(after.affine, before.affine)
    assert (after.header["sform_code"], after.header["qform_code"]) == (0, 1)


def test_write_rounds_clips_and_tells_nothing_about_the_patient(tmp_path) -> None:
    image = nib.Nifti1Image(_array(), AFFINE)
    image.header["descrip"] = b"DOE^JOHN"
    image.header["intent_name"] = b"DOE"
    image.header["aux_file"] = b"DOE"
    image.header["db_name"] = b"DOE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JOHN 1950"))
    nib.save(image, tmp_path / "x.nii")
    volume = read_volume(tmp_path / "x.nii")
    values = np.zeros(volume.array.shape, np.float32)
    values[0, 0, :6] = [0.5, 1.5, -0.6, 4e4, -4e4, 12.4]
    write_volume(tmp_path / "y.nii.gz", values, volume, np.int16, "made by a test")
    written = nib.load(tmp_path / "y.nii.gz")
    assert np.asarray(written.dataobj)[0, 0, :6].tolist() == [0, 2, -1, 32767, -32768, 12]
    assert bytes(written.header["descrip"]).startswith(b"made by a test")
    assert b"DOE" not in gzip.decompress((tmp_path / "y.nii.gz").read_bytes())
    first = (tmp_path / "y.nii.gz").read_bytes()
    write_volume(tmp_path / "y.nii.gz", values, volume, np.int16, "made by a test")
    assert (tmp_path / "y.nii.gz").read_bytes() == first


def test_write_refuses_another_grid(tmp_path) -> None:
    volume = read_volume(_nifti(tmp_path / "x.nii"))
    with pytest.raises(ValueError, match="shape"):
        write_volume(tmp_path / "y.nii.gz", volume.array[1:], volume, np.int16)
    with pytest.raises(ValueError, match="written as"):
        write_volume(tmp_path / "y.mha", volume.array, volume, np.int16)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_atomic_path_leaves_the_old_file_and_nothing_else(tmp_path, error) -> None:
    write_json(tmp_path / "a.json", {"old": 1})

    def write_half() -> None:
        with atomic_path(tmp_path / "a.json") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert "old" in (tmp_path / "a.json").read_text()


def test_leftovers_of_killed_processes_go(tmp_path) -> None:
    for name in (".123.partial-a.nii.gz", ".9.partial-a.nii.gz.tmp", ".9.partial-b_a.nii.gz", "a.nii.gz"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a.nii.gz")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".9.partial-b_a.nii.gz", "a.nii.gz"]


@pytest.mark.parametrize(
    ("name", "suffix", "stem"),
    [
        ("a.b.nii.gz", ".nii.gz", "a.b"),
        ("A.NII", ".nii", "A"),
        ("x.mha", ".mha", "x"),
        ("x.dcm", "", "x.dcm"),
    ],
)
def test_names(name, suffix, stem) -> None:
    assert volume_suffix(Path(name)) == suffix
    assert volume_stem(Path(name)) == stem
