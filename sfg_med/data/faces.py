# SPDX-License-Identifier: Apache-2.0
"""Faces with age and gender in their file names (UTKFace): a folder or tar of ``age_gender_race_date.jpg``.

What cannot be used is left out and said, one line for each file. Images are decoded once; with a cache folder other
processes and later calls map the pixels from there. The cache holds the faces: keep it as private as the data.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sfg_med.data.atomic import atomic_path, write_json
from sfg_med.errors import SfgMedError

OLDEST = 130
GENDERS = ("male", "female")
CACHE_VERSION = 1
Pixels = NDArray[np.uint8]
_NAME = re.compile(
    r"(?P<case>(?P<age>\d{1,3})_(?P<gender>\d)_\d_\d{17})\.jpe?g(\.chip\.jpg)?", re.IGNORECASE | re.ASCII
)
_IMAGES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Face:
    """One image.

    Args:
        case: the file name without its suffixes.
        age: years.
        gender: 0 male, 1 female.
        row: its place in :attr:`Faces.images`.
    """

    case: str
    age: int
    gender: int
    row: int


@dataclass(frozen=True)
class Faces:
    """A set of faces.

    Args:
        faces: sorted by case name.
        images: ``(N, size, size, 3)``, RGB.
        skipped: a line ``file: reason`` for every image file that was left out.
    """

    faces: tuple[Face, ...]
    images: Pixels
    skipped: tuple[str, ...]


def parse_name(name: str) -> tuple[str, int, int]:
    """Case name, age in years and gender (0 male, 1 female) of a file name ``age_gender_race_yyyymmddHHMMSSmmm.jpg``.

    The original files end in ``.jpg.chip.jpg``; both endings are read. The third field is not used.

    Raises:
        ValueError: saying why the name is none.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError("the name is not age_gender_race_date.jpg with a date of 17 digits")
    age, gender = int(match["age"]), int(match["gender"])
    if age > OLDEST:
        raise ValueError(f"an age of {age} years is not in 0 to {OLDEST}")
    if gender >= len(GENDERS):
        raise ValueError(f"gender {gender} is none of 0 (male) and 1 (female)")
    return match["case"], age, gender


def load_faces(source: Path, size: int, cache_dir: Path | None = None) -> Faces:
    """Read all faces of a folder or tar, or map them from the cache.

    Args:
        source: folder (with sub-folders), ``.tar`` or compressed tar.
        size: edge of the images in pixels; others are cropped to a centred square and resampled.
        cache_dir: where decoded images are kept; ``None`` keeps them in memory only.

    Raises:
        SfgMedError: for a source that is missing, damaged or without any usable image.
    """
    source = Path(source)
    if not source.exists():
        raise SfgMedError(source, "a folder or tar of age_gender_race_date.jpg", "nothing there", "check the path")
    if cache_dir is None:
        names, skipped = _choose(source)
        return _fill(source, names, skipped, np.zeros((len(names), size, size, 3), np.uint8))
    key = _fingerprint(source, size)
    pixels, about = (Path(cache_dir) / f"faces-{size}-{key}.{suffix}" for suffix in ("npy", "json"))
    if not about.is_file() or not pixels.is_file():
        names, skipped = _choose(source)
        with atomic_path(pixels) as temporary:
            shape = (len(names), size, size, 3)
            images: Pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            faces = _fill(source, names, skipped, images)
            del images
        write_json(about, {"faces": [asdict(f) for f in faces.faces], "skipped": list(faces.skipped)})
    stored = json.loads(about.read_text(encoding="utf-8"))
    return Faces(tuple(Face(**f) for f in stored["faces"]), np.load(pixels, mmap_mode="r"), tuple(stored["skipped"]))


def _choose(source: Path) -> tuple[dict[str, Face], list[str]]:
    """Files with a proper name, each with its row, and the lines of the others."""
    named: dict[str, tuple[str, int, int]] = {}
    skipped: list[str] = []
    seen: set[str] = set()
    for name, _ in _walk(source):
        try:
            case, age, gender = parse_name(name.rsplit("/", 1)[-1])
            if case in seen:
                raise ValueError(f"there is another file of case {case}")
        except ValueError as error:
            skipped.append(f"{name}: {error}")
            continue
        seen.add(case)
        named[name] = (case, age, gender)
    order = sorted(named, key=lambda name: named[name][0])
    if not order:
        found = f"{len(skipped)} other images" if skipped else "no images"
        raise SfgMedError(source, "images age_gender_race_date.jpg", found, "check --data")
    return {name: Face(*named[name], row=row) for row, name in enumerate(order)}, skipped


def _fill(source: Path, names: dict[str, Face], skipped: list[str], images: Pixels) -> Faces:
    """Decode into ``images``; an image that cannot be read leaves its row empty."""
    kept = []
    for name, content in _walk(source, names):
        if name not in names:
            continue
        try:
            images[names[name].row] = decode_image(content, images.shape[1])
        except ValueError as error:
            skipped.append(f"{name}: {error}")
        else:
            kept.append(names[name])
    if not kept:
        raise SfgMedError(source, "readable images", f"{len(names)} that are not", "check the files")
    return Faces(tuple(sorted(kept, key=lambda face: face.row)), images, tuple(sorted(skipped)))


def decode_image(content: bytes, size: int) -> Pixels:
    """An image file's content as ``(size, size, 3)``, RGB.

    Raises:
        ValueError: if it is no readable image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            picture = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError("the image cannot be read") from error
    if picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.uint8)


def _walk(source: Path, wanted: Container[str] = ()) -> Iterator[tuple[str, bytes]]:
    """Name of every image file (hidden files are none) in the order of the source, and the content of wanted ones."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if _is_image(name) and path.is_file():
                yield name, path.read_bytes() if name in wanted else b""
        return
    try:
        with tarfile.open(source, "r:*") as archive:
            for member in archive:
                if member.isfile() and _is_image(member.name):
                    file = archive.extractfile(member) if member.name in wanted else None
                    yield member.name, b"" if file is None else file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise SfgMedError(source, "a folder or tar", str(error), "copy the file again") from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGES) and not name.rsplit("/", 1)[-1].startswith(".")


def _fingerprint(source: Path, size: int) -> str:
    """Changes with the files' names, sizes and, of a tar, its time."""
    about: list[object] = [CACHE_VERSION, size, source.name]
    if source.is_dir():
        about += [
            (p.relative_to(source).as_posix(), p.stat().st_size) for p in sorted(source.rglob("*.*")) if p.is_file()
        ]
    else:
        about += [source.stat().st_size, source.stat().st_mtime_ns]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:12]
