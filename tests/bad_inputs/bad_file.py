# SPDX-License-Identifier: Apache-2.0
"""A file of the corpus, what is expected of it, and the good image that all of them spoil."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHAPE = (24, 22, 14)
# Voxels of 8 x 8 x 10 mm, the slices turned by 37 degrees; millimetres in RAS.
AFFINE = np.array([[-6.4, 4.8, 0, 60.0], [-4.8, -6.4, 0, 130.0], [0, 0, 10.0, -70.0], [0, 0, 0, 1]])


@dataclass(frozen=True)
class BadFile:
    """A file, folder or name of nothing at all.

    Args:
        path: what is given to a command.
        family: what is wrong with it, as in ``docs/reference/inputs.md``.
        said: regular expression that the line of the refusal contains; ``""`` if it is read.
        array: what is read.
        affine: (4, 4) voxel to RAS millimetres, what is read.
        notes: flags that the volume has then.
    """

    path: Path
    family: str
    said: str = ""
    array: NDArray[np.generic] | None = field(default=None, repr=False)
    affine: NDArray[np.float64] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """``"refused"`` or ``"read"``."""
        return "refused" if self.said else "read"


def good_image(dtype: str = "i2") -> NDArray[np.generic]:
    """A bright body in dark noise: (24, 22, 14), values from 0 to 1000."""
    random = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = (x / 0.8) ** 2 + (y / 0.7) ** 2 + 0 * z < 1
    return (random.integers(0, 20, SHAPE) + body * random.integers(300, 980, SHAPE)).astype(dtype)


class Corpus:
    """Files as they are written.

    Args:
        folder: new folder, with a folder for every family.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[BadFile] = []

    def path(self, family: str, name: str) -> Path:
        """Path of a file of a family whose folder exists."""
        (self.folder / family).mkdir(parents=True, exist_ok=True)
        return self.folder / family / name

    def refused(self, family: str, name: str, content: bytes | None, said: str) -> Path:
        """Write a file that is refused; ``None`` writes none."""
        path = self.path(family, name)
        if content is not None:
            path.write_bytes(content)
        self.files.append(BadFile(path, family, said))
        return path

    def read(
        self,
        family: str,
        name: str,
        content: bytes | None,
        array: NDArray[np.generic] | None = None,
        affine: NDArray[np.float64] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Path:
        """Write a file that is read, as the good image unless another is given."""
        path = self.path(family, name)
        if content is not None:
            path.write_bytes(content)
        array = good_image() if array is None else array
        self.files.append(BadFile(path, family, "", array, AFFINE if affine is None else affine, notes))
        return path
