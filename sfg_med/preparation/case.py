# SPDX-License-Identifier: Apache-2.0
"""Prepare one case: from its files to images on one grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from sfg_med.errors import SfgMedError
from sfg_med.preparation.bias import correct_bias
from sfg_med.preparation.bodies import ct_body, mr_body, without_couch
from sfg_med.preparation.grid import AIR_HU, common_box, covered, resample, with_spacing
from sfg_med.preparation.images import Image, array_of, image_like, to_image
from sfg_med.preparation.inputs import CT, MASK, MR, SEG, Source
from sfg_med.preparation.options import Options
from sfg_med.preparation.read import read_image
from sfg_med.preparation.registration import Alignment, Engine, align
from sfg_med.preparation.standardise import landmarks_of

# Bodies are found on voxels of at least this size.
BODY_MM = 2.0
LEAST_VOXELS = 8
Find = Callable[[NDArray[Any], tuple[float, ...], str], NDArray[np.bool_]]


@dataclass
class Prepared:
    """A case on one grid, voxel axes closest to right, anterior, superior.

    Args:
        images: role to image: ``mr`` float32, ``ct`` in HU, ``seg``, ``mask``; what the source lacks is missing.
        before: outline of the CT's body as the headers place it, for the picture; ``None`` without CT.
        after: outline of the CT's body once aligned.
        figures: what was measured.
        flags: what a person should look at.
        landmarks: percentiles of the MR inside the body, for standardisation.
    """

    images: dict[str, Image]
    before: Image | None = None
    after: Image | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    landmarks: tuple[float, ...] = ()


def prepare_case(source: Source, options: Options, engine: Engine) -> Prepared:
    """Read, correct, align and resample one case.

    Raises:
        SfgMedError: in one line, for whatever cannot be prepared.
    """
    images = {role: _read(path, role) for role, path in source.files.items()}
    mr, where = images[MR], str(source.files[MR])
    body = resample(images[MASK], mr, labels=True) > 0 if MASK in images else _body(mr, mr_body, where)
    body = sitk.Cast(body, sitk.sitkUInt8)
    result = Prepared({})
    if options.n4:
        mr, result.figures["bias_range"] = _rounded(correct_bias(mr, body))
    grid = with_spacing(mr, options.spacing_mm) if options.spacing_mm else mr
    result.images = {MR: resample(mr, grid), MASK: resample(body, grid, labels=True)}
    move = sitk.Transform(3, sitk.sitkIdentity)
    if CT in images:
        in_mr = result.images[MASK]
        move = _add_ct(result, source, options, engine, (mr, body, images[CT]), grid)
    if SEG in images:
        moved = move if options.seg_on == CT else None
        result.images[SEG] = resample(images[SEG], grid, moved, labels=True)
    if CT in images:
        _crop(result, source, in_mr)
    inside = array_of(result.images[MASK])
    result.figures["body_ml"] = round(float(inside.sum()) * float(np.prod(grid.GetSpacing())) / 1000.0, 1)
    result.landmarks = landmarks_of(array_of(result.images[MR]), inside)
    return result


def _read(path: Path, role: str) -> Image:
    image = to_image(read_image(path, role))
    if min(image.GetSize()) < LEAST_VOXELS:
        found = " x ".join(map(str, image.GetSize()))
        raise SfgMedError(path, f"a volume of at least {LEAST_VOXELS} voxels along every axis", found, "leave it out")
    return image


def _add_ct(
    result: Prepared,
    source: Source,
    options: Options,
    engine: Engine,
    pair: tuple[Image, Image, Image],
    grid: Image,
) -> sitk.Transform:
    """Couch, alignment, resampling; the mask keeps what both scans have seen."""
    mr, body, ct = pair
    outline = _body(ct, ct_body, str(source.files[CT]))
    bare, removed = without_couch(array_of(ct), array_of(outline) > 0, ct.GetSpacing())
    bare_ct = image_like(bare, ct)
    found: Alignment = align(mr, body, bare_ct, outline, options.registration, engine)
    result.figures |= {"couch_ml": round(removed, 1), **found.figures}
    result.flags += found.flags
    result.images[CT] = resample(ct if options.couch else bare_ct, grid, found.transform, fill=AIR_HU)
    result.before = resample(outline, grid, labels=True)
    result.after = resample(outline, grid, found.transform, labels=True)
    result.images[MASK] = sitk.And(result.images[MASK], covered(ct, grid, found.transform))
    return found.transform


def _crop(result: Prepared, source: Source, in_mr: Image) -> None:
    """Leave out the slices where the CT has nothing of the body ``in_mr``: they would teach air."""
    mask = result.images[MASK]
    if not array_of(mask).any():
        remedy = "check that both are of one patient and position, or use --registration rigid"
        raise SfgMedError(source.files[CT], "a CT that overlaps the MR", "no overlap", remedy)
    (*_, slices), (*_, first) = common_box(mask)
    if slices == common_box(in_mr)[0][2]:  # a mask that was supplied may be shorter than both scans
        return
    result.flags.append("fewer_slices_in_ct")
    box = [*mask.GetSize()[:2], slices], [0, 0, first]
    for name in ("before", "after"):
        setattr(result, name, sitk.RegionOfInterest(getattr(result, name), *box))
    result.images = {role: sitk.RegionOfInterest(image, *box) for role, image in result.images.items()}


def _body(image: Image, find: Find, where: str) -> Image:
    """Body mask in an image's grid, found on coarser voxels."""
    coarse = resample(image, with_spacing(image, [max(BODY_MM, s) for s in image.GetSpacing()]), fill=_dark(image))
    mask = image_like(find(array_of(coarse), coarse.GetSpacing(), where), coarse)
    return resample(mask, image, labels=True)


def _dark(image: Image) -> float:
    return float(array_of(image).min())


def _rounded(result: tuple[Image, float]) -> tuple[Image, float]:
    return result[0], round(result[1], 4)
