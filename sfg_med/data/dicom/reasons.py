# SPDX-License-Identifier: Apache-2.0
"""Why a series is not one volume: the first thing that is wrong, in one phrase; "" if nothing is."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from sfg_med.data.dicom.geometry import heights, in_order
from sfg_med.data.dicom.header import Header
from sfg_med.data.dicom.slices import Slice

MODALITIES = ("MR", "CT")
# Fewer parallel slices than these are a localiser, not a volume.
FEWEST_SLICES = 5
SAME_MM = 0.01
# Share of the slice distance by which distances may differ: positions are often rounded to 0.1 mm.
UNEVEN = 0.05
PARALLEL = 1e-3


def reason(headers: Sequence[Header]) -> str:
    """Look at the files of one series.

    Args:
        headers: all files of the series, at least one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of impossible UIDs in several lines
        found = _not_readable(headers) or _copies(headers)
    if found:
        return found
    slices = [s for header in headers for s in header.slices]
    return _not_placed(slices) or _localiser(headers, slices) or _not_alike(slices) or _not_one_volume(slices)


def _not_readable(headers: Sequence[Header]) -> str:
    for header in headers:
        if not header.slices or header.modality not in MODALITIES:
            kind = UID(header.sop_class).name if header.sop_class else header.modality
            return f"not an MR or CT image ({header.modality or 'no modality'}, {kind})"
        if header.samples != 1:
            return f"colour images ({header.samples} values a pixel)"
        if not _decodes(header.syntax):
            return f"compressed as {UID(header.syntax).name}, which cannot be decoded here: export it uncompressed"
    return ""


def _decodes(syntax: str) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _copies(headers: Sequence[Header]) -> str:
    count = Counter(header.image_uid for header in headers if header.image_uid)
    copies = [h.file.name for h in headers if count[h.image_uid] > 1]
    if not copies:
        return ""
    return f"{len(copies)} files that hold the same images ({copies[0]} and {copies[1]}, ...): remove the copies"


def _not_placed(slices: Sequence[Slice]) -> str:
    missing = [s for s in slices if not s.placed]
    if not missing:
        return ""
    what = "frames" if len({s.file for s in slices}) < len(slices) else "images"
    return f"{len(missing)} of {len(slices)} {what} without position, orientation or voxel size"


def _localiser(headers: Sequence[Header], slices: Sequence[Slice]) -> str:
    if any("LOCALIZER" in (t.upper() for t in header.image_type) for header in headers):
        return "a localiser, by its image type"
    normals = np.array([s.normal for s in slices])
    directions = np.unique(np.round(np.abs(normals), 2), axis=0)
    if np.abs(normals @ normals[0]).min() < 1 - PARALLEL:
        return f"a localiser: slices in {max(len(directions), 2)} directions"
    if len(slices) < FEWEST_SLICES:
        return f"a localiser: only {len(slices)} slice{'s' if len(slices) > 1 else ''} (a volume has {FEWEST_SLICES})"
    return ""


def _not_alike(slices: Sequence[Slice]) -> str:
    first = slices[0]
    for s in slices:
        if s.shape != first.shape:
            return f"images of {first.shape[1]} x {first.shape[0]} and of {s.shape[1]} x {s.shape[0]} pixels"
        if not np.allclose(s.spacing_mm or (), first.spacing_mm or (), rtol=1e-3):
            return f"pixels of {_mm(first.spacing_mm)} and of {_mm(s.spacing_mm)} mm"
        if not np.allclose(s.orientation or (), first.orientation or (), atol=PARALLEL):
            return f"slices that are turned against each other ({first.file.name} and {s.file.name})"
    return ""


def _not_one_volume(slices: Sequence[Slice]) -> str:
    ordered = in_order(slices)
    gaps = np.diff(heights(ordered))
    places = 1 + int((gaps > SAME_MM).sum())
    if places < len(slices):
        return f"{len(slices)} images at {places} positions: several volumes{_told_apart(slices)}; split the series"
    usual = float(np.median(gaps))
    if gaps.max() - gaps.min() > UNEVEN * usual:
        widest = int(gaps.argmax())
        where = f"between {ordered[widest].file.name} and {ordered[widest + 1].file.name}"
        return f"{_lost(gaps, usual)}: {gaps[widest]:.4g} mm {where}, usually {usual:.4g} mm"
    positions = np.array([s.position for s in ordered])
    straight = np.linspace(positions[0], positions[-1], len(positions))
    if np.abs(positions - straight).max() > max(UNEVEN * usual, 2 * UNEVEN):
        return "slices that are shifted against each other"
    return ""


def _lost(gaps: NDArray[np.float64], usual: float) -> str:
    """How many slices would fill all gaps, and how many gaps these are."""
    holes = [round(float(gap) / usual) - 1 for gap in gaps if gap > 1.5 * usual]
    if not holes:
        return "uneven slice distances"
    places = f" in {len(holes)} places, the widest" if len(holes) > 1 else ""
    return f"{sum(holes)} slice{'s' if sum(holes) > 1 else ''} missing{places}"


def _told_apart(slices: Sequence[Slice]) -> str:
    """What differs between images at one position: the b-value rather than the sequence's name."""
    for name in ("b-values", "echo times", "image types", "times", "sequence names", "acquisitions"):
        values = sorted({s.marks.get(name, "") for s in slices} - {""}, key=lambda v: (len(v), v))
        if len(values) > 1:
            more = ", ..." if len(values) > 6 else ""
            return f" ({name} {', '.join(values[:6])}{more})"
    return ""


def _mm(spacing: tuple[float, ...] | None) -> str:
    return " x ".join(f"{v:.4g}" for v in spacing or ())
