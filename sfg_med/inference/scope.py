# SPDX-License-Identifier: Apache-2.0
"""Numbers by which an input that is no MR of a pelvis stands out: values, size, where organs lie to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from sfg_med.data.orientation import to_ras
from sfg_med.data.volumes import Volume
from sfg_med.inference.body import COARSE_MM, bright_parts

INPUT = "input"
OFFSETS = ("right_mm", "anterior_mm", "superior_mm")
"""Measures of one organ's centre as seen from another's, along the patient's axes: ``superior_mm_bladder-prostate``."""


def input_measures(volume: Volume) -> dict[str, float]:
    """Measure an input image.

    Returns:
        ``input_negative_percent``: voxels below zero, which an MR has none of and a CT many; ``input_body_width_mm``
        and ``input_body_depth_mm``: extent of the largest bright object along left-right and front-back, median over
        the axial slices in which it reaches neither end of the image; missing where there are few such slices.
    """
    image, spacing = to_ras(volume.array, volume.affine)
    steps = [max(1, round(COARSE_MM / s)) for s in spacing]
    coarse = np.asarray(image[:: steps[0], :: steps[1], :: steps[2]], np.float32)
    found = {f"{INPUT}_negative_percent": round(100.0 * float((coarse < 0).mean()), 3)}
    parts, sizes = bright_parts(coarse)
    if len(sizes):
        body = parts == 1 + np.argmax(sizes)
        for name, axis in (("width", 0), ("depth", 1)):
            extent = _extent(body.any(axis=1 - axis))
            if extent is not None:
                found[f"{INPUT}_body_{name}_mm"] = round(extent * steps[axis] * spacing[axis], 1)
    return found


def offsets(centres: Mapping[str, NDArray[np.float64]], pairs: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """Where organs lie to each other.

    Args:
        centres: organ to its centre of mass in mm (R, A, S); organs that were not found are missing.
        pairs: of ``OFFSETS``, to pairs such as ``bladder-prostate``: the bladder seen from the prostate.
    """
    found = {}
    for axis, measure in enumerate(OFFSETS):
        for pair in pairs.get(measure, ()):
            organ, _, origin = pair.partition("-")
            if organ in centres and origin in centres:
                found[f"{measure}_{pair}"] = round(float(centres[organ][axis] - centres[origin][axis]), 1)
    return found


def centre(inside: NDArray[np.bool_], box: tuple[slice, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of mass in mm (R, A, S) of a mask that fills a box of an image."""
    middle = np.add(ndimage.center_of_mass(inside), [part.start for part in box])
    return np.asarray(apply_affine(affine, middle))


def _extent(shadow: NDArray[np.bool_]) -> float | None:
    """Median extent in voxels along the first axis over the slices of the second in which no end is reached."""
    free = shadow.any(axis=0) & ~shadow[0] & ~shadow[-1]
    if free.sum() < max(1, shadow.any(axis=0).sum() / 2):
        return None
    first, last = shadow.argmax(axis=0), len(shadow) - shadow[::-1].argmax(axis=0)
    return float(np.median((last - first)[free]))
