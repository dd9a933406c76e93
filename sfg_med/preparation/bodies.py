# SPDX-License-Identifier: Apache-2.0
"""The patient's body in an MR and in a CT, and a CT without its couch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from sfg_med.errors import SfgMedError
from sfg_med.preparation.grid import AIR_HU

# Halfway between air and fat, where the skin's edge is half covered.
SKIN_HU = -500.0
# A couch's shell and an immobilisation board are thinner than twice this, a pelvis is not.
OPENING_MM = 8.0
# Kept around the body: the blurred edge of the skin.
EDGE_MM = 3.0
# A body is more than this part of the field of view, or no body was found.
_LEAST = 0.01

Mask = NDArray[np.bool_]


def mr_body(image: NDArray[Any], spacing_mm: Sequence[float], where: str) -> Mask:
    """Body in an MR: brighter than noise, in one piece, holes filled slice by slice.

    The threshold is a third of Otsu's (Otsu 1979, of the image smoothed by 2 mm, cut at its 99th percentile): Otsu
    parts fat from muscle where there is much fat, and muscle is brighter than a third of the middle between both.

    Args:
        image: ``(X, Y, Z)``, axes closest to right, anterior, superior.
        spacing_mm: voxel size.
        where: file for messages.

    Raises:
        SfgMedError: if nothing stands out.
    """
    # Otsu squares: large values would overflow, small ones vanish
    scale = 2.0 ** -np.frexp(float(np.abs(image).max()))[1]
    smooth = ndimage.gaussian_filter(image.astype(np.float32) * np.float32(scale), [2.0 / s for s in spacing_mm])
    smooth = np.minimum(smooth, np.percentile(smooth, 99))
    bright = smooth > threshold_otsu(smooth) / 3.0
    return _checked(_filled(_largest(bright, spacing_mm, OPENING_MM / 2)), where, "MR")


def ct_body(hu: NDArray[Any], spacing_mm: Sequence[float], where: str) -> Mask:
    """Body in a CT: denser than halfway from air to fat, the largest piece after an opening, holes filled.

    The opening (a ball of 8 mm) parts the patient from couch and boards, which are thin; what it took from the
    patient's own surface is given back within one voxel: more would give the couch under the back, too.

    Args:
        hu: ``(X, Y, Z)`` in HU, axes closest to right, anterior, superior.
        spacing_mm: voxel size.
        where: file for messages.

    Raises:
        SfgMedError: if nothing stands out.
    """
    return _checked(_filled(_largest(hu > SKIN_HU, spacing_mm, OPENING_MM)), where, "CT")


def without_couch(hu: NDArray[Any], body: Mask, spacing_mm: Sequence[float]) -> tuple[NDArray[np.float32], float]:
    """A CT in which everything but the body and its edge (3 mm, at least a voxel) is air.

    Returns:
        The CT ``(X, Y, Z)`` in HU, and the volume in ml of what was denser than the skin's threshold and went.
    """
    kept = ndimage.distance_transform_edt(~body, sampling=spacing_mm) <= max(EDGE_MM, *spacing_mm)
    removed = float((~kept & (hu > SKIN_HU)).sum()) * float(np.prod(spacing_mm)) / 1000.0
    return np.where(kept, hu, AIR_HU).astype(np.float32), removed


def _largest(mask: Mask, spacing_mm: Sequence[float], radius_mm: float) -> Mask:
    """The largest piece that is left after an opening, with what the opening took from its outermost voxels."""
    core = _opened(mask, spacing_mm, radius_mm)
    pieces, count = ndimage.label(core)
    if not count:
        return core
    core = pieces == np.argmax(np.bincount(pieces.ravel())[1:]) + 1
    near = ndimage.distance_transform_edt(~core, sampling=spacing_mm) <= max(spacing_mm)
    pieces, _ = ndimage.label(mask & near)
    return (pieces > 0) & np.isin(pieces, np.unique(pieces[core]))


def _opened(mask: Mask, spacing_mm: Sequence[float], radius_mm: float) -> Mask:
    """Opening by a ball through distances, padded as if the patient went on beyond the field of view."""
    pad = [int(np.ceil(radius_mm / s)) + 1 for s in spacing_mm]
    wide = np.pad(mask, [(n, n) for n in pad], mode="edge")
    eroded = ndimage.distance_transform_edt(wide, sampling=spacing_mm) > radius_mm
    opened = ndimage.distance_transform_edt(~eroded, sampling=spacing_mm) <= radius_mm
    return opened[tuple(slice(n, -n) for n in pad)]


def _filled(mask: Mask) -> Mask:
    """Holes filled in every axial slice: gas in the rectum reaches the ends of the field of view."""
    return np.stack([ndimage.binary_fill_holes(mask[..., z]) for z in range(mask.shape[2])], axis=-1)


def _checked(mask: Mask, where: str, kind: str) -> Mask:
    if mask.mean() < _LEAST:
        raise SfgMedError(where, f"a patient in the {kind}", "no body that stands out from air", "look at the image")
    return mask
