# SPDX-License-Identifier: Apache-2.0
"""One simulated man: MR, CT, organ labels, body mask and tissues on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from sfg_med.data.simulation.artefacts import add_flare, add_void
from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Streams
from sfg_med.data.simulation.paint import Painter, paint_man
from sfg_med.data.simulation.population import draw_man
from sfg_med.data.simulation.scan import acquire_ct, acquire_mr, draw_protocol
from sfg_med.data.simulation.space import Canvas, Look, Space
from sfg_med.data.simulation.tissues import draw_tissues, spin_echo
from sfg_med.errors import SfgMedError
from sfg_med.spec import PELVIS_LABELS

# Lowest and highest position along z relative to the hip joints (mm); each man's differ by up to 6 mm.
FIELDS_OF_VIEW = {"standard": (-112.0, 88.0), "whole": (-135.0, 140.0)}


@dataclass(frozen=True)
class SimulatedCase:
    """A simulated man's images.

    Args:
        mr: T2-weighted MR in scanner units, int16.
        ct: Hounsfield units, int16.
        seg: organ labels, uint8, values of ``sfg_med.spec.PELVIS_LABELS``.
        mask: body, uint8.
        tissue: the tissue that dominates each voxel, uint8, positions in ``TISSUE_NAMES`` (outside: 0, air).
        affine: voxel to world (RAS, mm), ``(4, 4)``.
        parameters: what was drawn: anatomy, protocol, tissues, organ volumes in ml.
    """

    mr: NDArray[np.int16]
    ct: NDArray[np.int16]
    seg: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    tissue: NDArray[np.uint8]
    affine: NDArray[np.float64]
    parameters: dict[str, Any]


def simulate_case(
    seed: int | Sequence[int],
    spacing_mm: Sequence[float] = (3.0, 3.0, 3.0),
    field_of_view: str = "standard",
    variation: float = 1.0,
) -> SimulatedCase:
    """Simulate one man's pelvis.

    The anatomy is a function of position in millimetres: the same seed at another spacing is the same man.

    Args:
        seed: a non-negative integer, or several (case i of a data set uses ``(seed, i)``).
        spacing_mm: voxel size along x, y, z (patient's left to right, back to front, feet to head).
        field_of_view: ``"standard"``, from below the ischia to above the bladder of most men, or ``"whole"``, to
            above the iliac crests.
        variation: how much men differ: 1 as published and chosen for adult men, 0 not at all.

    Example:
        >>> case = simulate_case(1, spacing_mm=(8.0, 8.0, 8.0))
        >>> case.mr.dtype.name, sorted(np.unique(case.seg).tolist())
        ('int16', [0, 1, 2, 3, 4, 5])
    """
    spacing, extent = check_spacing(spacing_mm), check_field_of_view(field_of_view)
    streams = Streams(check_seed(seed))
    return simulate_man(draw_man(streams, check_variation(variation)), streams, spacing, extent)


def simulate_man(man: Man, streams: Streams, spacing: tuple[float, float, float], field_of_view: str) -> SimulatedCase:
    """Simulate a man of given anatomy; all else is drawn from ``streams``. Arguments as in :func:`simulate_case`."""
    protocol = draw_protocol(streams)
    tissues = draw_tissues(streams)
    axes, offset = _axes(man, spacing, streams, field_of_view)
    split = _split(spacing)
    space = Space([_refine(a, n) for a, n in zip(axes, split, strict=True)], streams, man)
    looks = {
        name: Look(spin_echo(tissue, protocol.te_ms, protocol.tr_ms), tissue.ct_hu, number)
        for number, (name, tissue) in enumerate(tissues.items())
    }
    canvas = Canvas(space.shape, space.edge_mm)
    painter = Painter(space, man, canvas, looks)
    body = paint_man(painter)
    add_flare(painter)
    add_void(painter, tuple(s / n for s, n in zip(spacing, split, strict=True)))
    inside = body.skin < 0
    mask = _block_mean(inside, split) > 0.5
    seg = _single_pieces(_majority(canvas.label * inside, split) * mask)
    signal = _block_mean(canvas.mr, split) / np.float32(looks["fat"].mr)
    voxel_ml = float(np.prod(spacing)) / 1000.0
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [a[0] + o for a, o in zip(axes, offset, strict=True)]
    return SimulatedCase(
        mr=acquire_mr(signal, axes, streams, protocol),
        ct=acquire_ct(_block_mean(canvas.ct, split), spacing, streams, protocol),
        seg=seg,
        mask=mask.astype(np.uint8),
        tissue=_majority(canvas.tissue, split),
        affine=affine,
        parameters={
            "anatomy": asdict(man),
            "protocol": asdict(protocol),
            "volume_ml": {n: round(float((seg == v).sum()) * voxel_ml, 2) for n, v in PELVIS_LABELS.items()},
        },
    )


def _split(spacing: tuple[float, ...]) -> tuple[int, ...]:
    """How many parts each voxel is painted in: long voxels are averages of nearly cubic ones.

    An odd number, so that a majority of parts always exists at a boundary.
    """
    return tuple(2 * round((s / min(spacing) - 0.9) / 2) + 1 for s in spacing)


def _refine(axis_mm: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    step = axis_mm[1] - axis_mm[0]
    shifts = ((np.arange(parts) + 0.5) / parts - 0.5) * step
    return (axis_mm[:, None] + shifts).ravel()


def _block_mean(image: NDArray[Any], parts: tuple[int, ...]) -> NDArray[np.float32]:
    if parts == (1, 1, 1):
        return image.astype(np.float32)
    shape = [n for size, p in zip(image.shape, parts, strict=True) for n in (size // p, p)]
    return image.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)


def _majority(labels: NDArray[np.uint8], parts: tuple[int, ...]) -> NDArray[np.uint8]:
    if parts == (1, 1, 1):
        return labels
    result = np.zeros([n // p for n, p in zip(labels.shape, parts, strict=True)], np.uint8)
    most = np.zeros(result.shape, np.float32)
    for value in np.unique(labels):
        share = _block_mean(labels == value, parts)
        more = share > most
        result[more], most[more] = value, share[more]
    return result


def _axes(
    man: Man, spacing: tuple[float, ...], streams: Streams, field_of_view: str
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Voxel positions relative to the hip centre, and where that lies in the scanner."""
    rng = streams("field of view")
    lean = np.abs(np.sin(np.deg2rad(man.turn_deg)))
    wide = (165.0 + 1.2 * man.fat_mm) * man.scale[0] + 14.0 + 2.0 * man.warp_mm + 110.0 * lean[0]
    front = (80.0 + 1.15 * man.fat_mm * man.belly) * man.scale[1] + 22.0 + man.warp_mm
    back = (man.table_mm - 12.0) * man.scale[1] - 100.0 * lean[1]
    ends = FIELDS_OF_VIEW[field_of_view]
    bottom, top = ends[0] + rng.uniform(-5, 5), ends[1] + rng.uniform(-6, 6)
    low = np.array([-wide, back, bottom])
    high = np.array([wide, front, top])
    counts = np.maximum(np.rint((high - low) / spacing).astype(int), 2)
    middle = (low + high) / 2
    axes = [m + (np.arange(n) - (n - 1) / 2) * s for m, n, s in zip(middle, counts, spacing, strict=True)]
    return axes, np.round(rng.normal(0, (6, 8, 15)), 1) + np.array([0.0, 15.0, 0.0])


def _single_pieces(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Keep the largest piece of each organ: where surfaces meet, a coarse grid may cut off a voxel."""
    for value, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            organ = labels[box] == value
            pieces, _ = label(organ)
            labels[box][organ & (pieces != np.argmax(np.bincount(pieces.ravel())[1:]) + 1)] = 0
    return labels


def check_field_of_view(name: str) -> str:
    """The name of a field of view.

    Raises:
        SfgMedError: if there is none of that name.
    """
    if name not in FIELDS_OF_VIEW:
        raise SfgMedError("field of view", " or ".join(FIELDS_OF_VIEW), repr(name), "choose one of them")
    return name


def check_variation(variation: float) -> float:
    """How much men differ.

    Raises:
        SfgMedError: if it is not from 0 to 1.
    """
    if not 0 <= variation <= 1:
        raise SfgMedError("variation", "a number from 0 to 1", str(variation), "1 is usual")
    return float(variation)


def check_spacing(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Three voxel sizes in mm as floats.

    Raises:
        SfgMedError: if they are not three numbers from 0.3 to 20.
    """
    values = tuple(float(s) for s in spacing_mm)
    if len(values) != 3 or not all(np.isfinite(s) and 0.3 <= s <= 20.0 for s in values):
        raise SfgMedError("spacing", "three voxel sizes of 0.3 to 20 mm", str(values), "give one or three such numbers")
    return values


def check_seed(seed: int | Sequence[int]) -> tuple[int, ...]:
    """A seed as a tuple of integers.

    Raises:
        SfgMedError: if it is empty or negative.
    """
    entropy = (seed,) if isinstance(seed, int | np.integer) else tuple(seed)
    if not entropy or any(int(e) < 0 for e in entropy):
        raise SfgMedError("seed", "a non-negative integer", str(seed), "choose another seed")
    return tuple(int(e) for e in entropy)
