# SPDX-License-Identifier: Apache-2.0
"""Faces are read from folders and tars alike; what cannot be used is named. The images here are noise, no faces."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfg_med.data.faces import decode_image, load_faces, parse_name
from sfg_med.errors import SfgMedError

GOOD = {
    "26_0_2_20170104023102422.jpg": (26, 0),
    "9_1_0_20161219203650636.jpg.chip.jpg": (9, 1),
    "110_1_4_20170110000000001.JPG": (110, 1),
}
MALFORMED = {
    "61_1_20170109142408075.jpg.chip.jpg": "17 digits",  # a field is missing
    "24_0_1_20170116220224657 .jpg.chip.jpg": "17 digits",
    "55_0_0_20170116232725357jpg.chip.jpg": "17 digits",
    "14_0_0_2017011022340900.jpg.chip.jpg": "17 digits",
    "28_1_2_201701161846515488.jpg": "17 digits",
    "-5_1_2_20170116184651548.jpg": "17 digits",
    "131_1_2_20170116184651548.jpg": "131 years",
    "30_3_2_20170116184651548.jpg": "gender 3",
    "holiday.jpg": "age_gender_race_date",
}


def jpeg(seed: int = 0, size: tuple[int, int] = (20, 20), mode: str = "RGB") -> bytes:
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    noise = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in reversed(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("name", "expected"), GOOD.items())
def test_names(name: str, expected: tuple[int, int]) -> None:
    assert parse_name(name) == (name.split(".")[0], *expected)


@pytest.mark.parametrize(("name", "reason"), MALFORMED.items())
def test_malformed_names_say_why(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_name(name)


def test_the_real_malformed_names_are_all_reported(shared_data: Path) -> None:
    path = shared_data / "utkface" / "utkface_malformed_names_8.tar"
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert len(names) == 8
    for name in names:
        with pytest.raises(ValueError, match="17 digits"):
            parse_name(name)
    with pytest.raises(SfgMedError, match="8 other images"):
        load_faces(path, 32)


def test_folder_and_tars_give_the_same_faces_and_report_the_rest(tmp_path: Path) -> None:
    files = {name: jpeg(seed) for seed, name in enumerate(GOOD)}
    files |= dict.fromkeys(MALFORMED, jpeg())
    files["1_0_0_20170101000000000.jpg"] = jpeg()[:200]
    files["2_0_0_20170101000000000.jpg"] = b"no image"
    files["again/26_0_2_20170104023102422.jpg"] = jpeg(9)
    others = {"labels.csv": b"file,age", "._26_0_2_20170104023102422.jpg": b"of a Mac", "deeper/.hidden.jpg": b""}
    folder = write_folder(tmp_path / "faces", files | others)
    found = load_faces(folder, 20)
    assert [(f.case, f.age, f.gender) for f in found.faces] == sorted((n.split(".")[0], *v) for n, v in GOOD.items())
    reported = {line.rsplit(": ", 1)[0] for line in found.skipped}
    assert reported == files.keys() - GOOD.keys()
    assert len(found.skipped) == len(reported)
    for face in found.faces:
        name = next(n for n in GOOD if n.startswith(face.case))
        np.testing.assert_array_equal(found.images[face.row], np.asarray(Image.open(io.BytesIO(files[name]))))
    for name in ("faces.tar", "faces.tar.gz"):
        other = load_faces(write_tar(tmp_path / name, files), 20)
        kept = [(f.case, f.age, f.gender) for f in other.faces]
        assert kept == [(f.case, f.age, f.gender) for f in found.faces]
        assert {line.rsplit(": ", 1)[0] for line in other.skipped} >= reported - {"again/26_0_2_20170104023102422.jpg"}


def test_images_are_resampled_to_a_square(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 255, 80).astype(np.uint8)[:, None], 120, 1)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    small = decode_image(buffer.getvalue(), 20)
    assert small.shape == (20, 20, 3)
    expected = ramp.reshape(20, 4, 120).mean((1, 2))
    np.testing.assert_allclose(small[:, 10, 1], expected, atol=3)
    assert (small == small[:, :1]).all(), "a grey ramp stays grey"


def test_the_cache_returns_the_same_and_follows_the_source(tmp_path: Path) -> None:
    files = {name: jpeg(seed) for seed, name in enumerate(GOOD)} | {"holiday.jpg": jpeg()}
    folder, cache = write_folder(tmp_path / "faces", files), tmp_path / "cache"
    plain = load_faces(folder, 16)
    for _ in range(2):
        cached = load_faces(folder, 16, cache)
        assert cached.faces == plain.faces
        assert cached.skipped == plain.skipped
        np.testing.assert_array_equal(cached.images, plain.images)
    assert isinstance(cached.images, np.memmap)
    assert len(list(cache.iterdir())) == 2
    write_folder(folder, {"1_0_0_20170101000000000.jpg": jpeg(5)})
    assert len(load_faces(folder, 16, cache).faces) == 4
    assert load_faces(folder, 8, cache).images.shape == (4, 8, 8, 3)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "broken"])
def test_a_source_without_faces_is_one_line(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "faces.tar.gz"
    if kind == "empty":
        source = write_folder(tmp_path / "faces", {"notes.txt": b""})
    elif kind == "text":
        source.write_bytes(b"no tar")
    elif kind == "truncated":
        whole = write_tar(source, {name: jpeg(1, (200, 200)) for name in GOOD}).read_bytes()
        source.write_bytes(whole[: len(whole) // 2])
    elif kind == "broken":
        source = write_tar(source, dict.fromkeys(GOOD, b"no image"))
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(SfgMedError) as caught:
            load_faces(source, 16, cache)
        assert source.name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*"))
