# SPDX-License-Identifier: Apache-2.0
"""Inputs by family: pelvises, other body parts and images, phantoms, and pelvises whose header lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from sfg_med.data.atomic import atomic_path
from sfg_med.errors import SfgMedError

Array = NDArray[np.float32]
Affine = NDArray[np.float64]
PELVISES = (
    "hipmri_pelvis/case018_week7_mr.nii.gz",
    "dicom_mr/prostate3t_0001_t2.nii.gz",
    "prostatex_mpmri/px0000_t2.nii.gz",
    "promise12/case06_t2.nii.gz",
    "promise12/case22_t2.nii.gz",
    "pelvis_pairs/case005/mr.nii.gz",
    "pelvis_pairs/case006/mr.nii.gz",
)
"""Five real ones and two simulated ones, whose headers are made to lie."""


@dataclass(frozen=True)
class Family:
    """Inputs of one kind.

    Args:
        name: name of the folder.
        title: for the table.
        files: patterns of volumes below the data.
        header: what is made of the affine (to patient axes R, A, S in mm).
        phantoms: simulated volumes by name, in place of files.
    """

    name: str
    title: str
    files: tuple[str, ...] = ()
    header: Callable[[Affine, tuple[int, ...]], Affine] | None = None
    phantoms: Mapping[str, Callable[[], Array]] = field(default_factory=dict)


def write_inputs(family: Family, data: Path, folder: Path) -> None:
    """Link, or write, the volumes of a family into a folder; those that are there stay.

    Raises:
        SfgMedError: if the data lack a volume.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in family.files:
        found = sorted(data.glob(pattern))
        if not found:
            raise SfgMedError(data / pattern, "a volume", "none", "check --data")
        for path in found:
            name = path.relative_to(data).as_posix().replace("/", "_").removesuffix(".nii.gz")
            target = folder / f"{name}_input.nii.gz"  # predict takes x_ct for one of its results
            if target.exists():
                continue
            if family.header is None:
                target.symlink_to(path.resolve())
            else:
                image = nib.Nifti1Image.from_filename(path)
                affine = family.header(np.asarray(image.affine), image.shape)
                _save(np.asarray(image.dataobj), affine, target)
    for name, draw in family.phantoms.items():
        target = folder / f"{name}.nii.gz"
        if not target.exists():
            _save(draw(), np.diag([*PHANTOM_MM, 1.0]), target)


def _save(array: NDArray[np.generic], affine: Affine, target: Path) -> None:
    with atomic_path(target) as partial:
        nib.save(nib.Nifti1Image(array, affine), partial)


def _scaled(factor: float) -> Callable[[Affine, tuple[int, ...]], Affine]:
    return lambda affine, shape: affine @ np.diag([factor, factor, factor, 1.0])


def _exchanged(axis: int) -> Callable[[Affine, tuple[int, ...]], Affine]:
    """The two ends of a patient axis, about the middle of the image."""

    def exchange(affine: Affine, shape: tuple[int, ...]) -> Affine:
        mirror = np.eye(4)
        mirror[axis, axis] = -1.0
        mirror[axis, 3] = 2.0 * (affine @ [*((np.array(shape) - 1) / 2.0), 1.0])[axis]
        return mirror @ affine

    return exchange


PHANTOM_MM = (2.0, 2.0, 4.0)
_SHAPE = (192, 192, 48)


def _positions() -> list[Array]:
    """Distance from the middle along each axis, in mm."""
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(_SHAPE, PHANTOM_MM, strict=True)]
    return [a.astype(np.float32) for a in np.meshgrid(*axes, indexing="ij")]


def _signal(inside: NDArray[np.bool_], inserts: NDArray[np.bool_] | None = None) -> Array:
    """Rician noise everywhere, signal inside, more of it in inserts."""
    rng = np.random.default_rng(0)
    signal = 300.0 * inside + (0.0 if inserts is None else 300.0 * inserts)
    real, imaginary = rng.normal(0.0, 10.0, (2, *_SHAPE))
    return np.hypot(signal + real, imaginary).astype(np.float32)


def _cylinder() -> Array:
    x, y, _ = _positions()
    return _signal(np.hypot(x, y) < 100)


def _inserts() -> Array:
    x, y, _ = _positions()
    angles = np.arange(6) * np.pi / 3
    rods = np.any([np.hypot(x - 60 * np.cos(a), y - 60 * np.sin(a)) < 12 for a in angles], axis=0)
    return _signal(np.hypot(x, y) < 100, rods)


def _ball() -> Array:
    x, y, z = _positions()
    return _signal(np.sqrt(x**2 + y**2 + z**2) < 85)


def _slab() -> Array:
    _, y, _ = _positions()
    return _signal(np.abs(y) < 60)


def _noise() -> Array:
    return _signal(np.zeros(_SHAPE, bool))


FAMILIES = (
    Family(
        "pelvis_t2",
        "T2 of the male pelvis (should have none)",
        ("promise12/*_t2.nii.gz", "prostatex_mpmri/px????_t2.nii.gz", *PELVISES[:2]),
    ),
    Family("pelvis_pairs", "simulated MR on real anatomies (should have none)", ("pelvis_pairs/*/mr.nii.gz",)),
    Family(
        "other_contrast",
        "other contrasts of the prostate: ADC, high b, proton density",
        tuple(f"prostatex_mpmri/*_{kind}.nii.gz" for kind in ("adc", "hbv", "pd")),
    ),
    Family(
        "brain",
        "brain, T1 with contrast agent and FLAIR",
        ("brats2015_pairs/*_t1c.nii.gz", "brats2015_pairs/*_flair.nii.gz"),
    ),
    Family("ct", "CT in HU instead of MR", ("pelvic_ct/ct.nii.gz", "pelvic_ct/pelvis_ct.nii.gz")),
    Family(
        "phantoms",
        "simulated phantoms: cylinder, cylinder with inserts, ball, slab, noise",
        phantoms={"cylinder": _cylinder, "inserts": _inserts, "ball": _ball, "slab": _slab, "noise": _noise},
    ),
    Family("half_size", "voxel size half of the true one (5 real, 2 simulated)", PELVISES, _scaled(0.5)),
    Family("double_size", "voxel size twice the true one", PELVISES, _scaled(2.0)),
    Family("head_feet", "head and feet exchanged", PELVISES, _exchanged(2)),
    Family("front_back", "front and back exchanged", PELVISES, _exchanged(1)),
)
