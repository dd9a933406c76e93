# SPDX-License-Identifier: Apache-2.0
"""From a pair to a transform: start, rigid, deformable, and what is kept of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from sfg_med.preparation.grid import AIR_HU, covered, padded, resample, with_spacing
from sfg_med.preparation.images import Image, array_of, image_like
from sfg_med.preparation.registration.engines import Engine
from sfg_med.preparation.registration.quality import deformation, mutual_information, overlap
from sfg_med.preparation.registration.rigid import register_rigidly

NONE, RIGID, DEFORMABLE = KINDS = ("none", "rigid", "deformable")
# Registration works on voxels of at least this size: soft tissue moves by more, and time goes with the third power.
WORK_MM = 3.0
START_MM = 8.0
# Starts along the patient: two scans may begin at other heights.
START_SHIFTS_MM = (-80.0, -40.0, 0.0, 40.0, 80.0)
# CT numbers that carry soft tissue and the onset of bone; the histogram's bins are spent on them.
WINDOW_HU = (-200.0, 400.0)
SKIN_MM = 10.0
MARGIN_MM = 20.0
LEAST_OVERLAP = 0.9
LEAST_COVERED = 0.5


@dataclass(frozen=True)
class Alignment:
    """Where the CT goes.

    Args:
        transform: point of the MR to point of the CT, LPS mm.
        figures: quality, see :func:`align`.
        flags: what a person should look at.
    """

    transform: sitk.Transform
    figures: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def align(mr: Image, mr_body: Image, ct: Image, ct_body: Image, kind: str, engine: Engine) -> Alignment:
    """Register a CT to an MR.

    Figures: mutual information inside the MR's body and Dice of both bodies, each ``_before`` (as the headers place
    the images), ``_rigid``, and ``_after``; displacement percentiles and Jacobian of the deformable part. A deformation
    that folds, or that lowers the mutual information, is not used: flag ``deformation_refused``.

    Args:
        mr: float32.
        mr_body: uint8, in the MR's grid.
        ct: float32, HU, without couch.
        ct_body: uint8, in the CT's grid.
        kind: ``none``, ``rigid`` or ``deformable``.
        engine: what deforms.
    """
    pair = _Pair(mr, mr_body, ct, ct_body)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    figures = pair.figures(identity, "before")
    if kind == NONE:
        return Alignment(identity, figures, pair.flags(figures, "before"))
    rigid = register_rigidly(pair.fixed, pair.moving, pair.mask, pair.start())
    figures |= pair.figures(rigid, "rigid")
    if kind == RIGID:
        return Alignment(rigid, figures, pair.flags(figures, "rigid"))
    around = padded(pair.fixed, MARGIN_MM)
    near = resample(pair.moving, around, rigid, fill=WINDOW_HU[0])
    bend = engine.deformable(pair.fixed, near, pair.mask, covered(pair.moving, around, rigid))
    both = sitk.CompositeTransform([rigid, bend])  # the last one is applied first
    figures |= pair.figures(both, "after") | deformation(bend, pair.fixed, pair.body)
    folds = figures["folded_percent"] > 0
    if folds or figures["mutual_information_after"] < figures["mutual_information_rigid"]:
        return Alignment(rigid, figures, ("deformation_refused", *pair.flags(figures, "rigid")))
    return Alignment(both, figures, pair.flags(figures, "after"))


class _Pair:
    """The images that the engines see: coarse, clipped."""

    def __init__(self, mr: Image, mr_body: Image, ct: Image, ct_body: Image) -> None:
        grid = with_spacing(mr, [max(WORK_MM, s) for s in mr.GetSpacing()])
        low, high = np.percentile(array_of(mr)[array_of(mr_body) > 0], [0.5, 99.5])
        self.fixed = resample(sitk.Clamp(mr, sitk.sitkFloat32, min(0.0, float(low)), float(high)), grid)
        self.body = array_of(resample(mr_body, grid, labels=True)) > 0
        near = ndimage.distance_transform_edt(~self.body, sampling=grid.GetSpacing()) <= SKIN_MM
        self.mask = image_like(near, grid)
        coarse = with_spacing(ct, [max(WORK_MM, s) for s in ct.GetSpacing()])
        self.moving = resample(sitk.Clamp(ct, sitk.sitkFloat32, *WINDOW_HU), coarse, fill=WINDOW_HU[0])
        self.ct_body = resample(ct_body, coarse, labels=True)

    def figures(self, transform: sitk.Transform, name: str) -> dict[str, float]:
        """Mutual information and overlap where the CT has data; 0 where it has none."""
        there = array_of(covered(self.moving, self.fixed, transform)) > 0
        moved = array_of(resample(self.moving, self.fixed, transform, fill=AIR_HU))
        outline = array_of(resample(self.ct_body, self.fixed, transform, labels=True)) > 0
        inside = self.body & there
        return {
            f"mutual_information_{name}": round(mutual_information(array_of(self.fixed), moved, inside), 4),
            f"body_dice_{name}": round(overlap(inside, outline), 4),
        }

    def flags(self, figures: dict[str, float], name: str) -> tuple[str, ...]:
        """Overlap that is too small."""
        return ("bodies_differ",) if figures[f"body_dice_{name}"] < LEAST_OVERLAP else ()

    def start(self) -> sitk.Transform:
        """The best of several translations by mutual information: as the headers say, or centre on centre."""
        grid = with_spacing(self.fixed, [START_MM] * 3)
        fixed, body = array_of(resample(self.fixed, grid)), array_of(resample(self.mask, grid, labels=True)) > 0
        own = _centre(image_like(self.body, self.fixed))
        gap = np.subtract(_centre(self.ct_body), own)
        flat = [np.zeros(3), gap * (1, 1, 0), gap]
        shifts = [base + np.array([0.0, 0.0, z]) for base, z in itertools.product(flat, START_SHIFTS_MM)]

        def score(shift: np.ndarray) -> float:
            move = sitk.TranslationTransform(3, shift.tolist())
            there = array_of(covered(self.moving, grid, move)) > 0
            inside = body & there
            if inside.sum() < LEAST_COVERED * body.sum():
                return -1.0
            return mutual_information(fixed, array_of(resample(self.moving, grid, move, fill=WINDOW_HU[0])), inside)

        return sitk.TranslationTransform(3, max(shifts, key=score).tolist())


def _centre(mask: Image) -> tuple[float, float, float]:
    places = np.argwhere(array_of(mask) > 0).mean(axis=0)
    x, y, z = mask.TransformContinuousIndexToPhysicalPoint(places.tolist())
    return x, y, z
