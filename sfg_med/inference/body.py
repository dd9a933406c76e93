# SPDX-License-Identifier: Apache-2.0
"""Where in the image the patient is, so that the network need not look at air."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from sfg_med.spec import ImageTask, LabelTask, ModelSpec
from sfg_med.transforms.normalize import FOREGROUND

# The search is done on voxels of about this size, and errs on the side of too large a box.
COARSE_MM = 6.0
MARGIN_MM = 18.0
# Parts of the foreground smaller than this share of the largest one are noise.
SPECKS = 0.01
# Of output channels where nobody is: logits of the background against the organs, log variances at their lower end.
SURE = 10.0

Box = tuple[slice, slice, slice]


def body_box(image: Tensor, spacing_mm: Sequence[float], least: Sequence[int]) -> Box:
    """Box around what is brighter than air, with a margin.

    Args:
        image: ``(1, X, Y, Z)``, air being dark.
        spacing_mm: voxel size.
        least: voxels that the box has at least along each axis, where the image has as many.

    Returns:
        The box; all of the image if nothing stands out.
    """
    shape = image.shape[1:]
    steps = [max(1, round(COARSE_MM / s)) for s in spacing_mm]
    coarse = image[0, :: steps[0], :: steps[1], :: steps[2]].cpu().numpy()
    parts, sizes = bright_parts(coarse)
    if not len(sizes):
        return whole(image)
    kept = np.isin(parts, 1 + np.flatnonzero(sizes >= SPECKS * sizes.max()))
    box = []
    (found,) = ndimage.find_objects(kept.astype(np.uint8))
    for part, step, mm, length, size in zip(found, steps, spacing_mm, shape, least, strict=True):
        margin = round(MARGIN_MM / mm)
        start, stop = part.start * step - margin, part.stop * step + margin
        missing = max(0, size - (stop - start))
        start, stop = start - missing // 2, stop + missing - missing // 2
        # what one end cannot give, the other one does
        start, stop = start - max(0, stop - length), stop + max(0, -start)
        box.append(slice(max(0, start), min(length, stop)))
    x, y, z = box
    return x, y, z


def bright_parts(coarse: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is brighter than air.

    Args:
        coarse: image on voxels of about ``COARSE_MM``, so that a bridge one voxel wide joins nothing.

    Returns:
        Map of the parts, numbered from 1, and how many voxels each of them has.
    """
    dark, bright = float(coarse.min()), float(np.percentile(coarse, 99))
    parts, count = ndimage.label(ndimage.binary_opening(coarse > dark + FOREGROUND * (bright - dark)))
    return parts, np.bincount(parts.ravel(), minlength=count + 1)[1:]


def whole(image: Tensor) -> Box:
    """All of an image ``(1, X, Y, Z)``."""
    x, y, z = (slice(0, n) for n in image.shape[1:])
    return x, y, z


def air(spec: ModelSpec, channels: int) -> Tensor:
    """What the network would say of air, ``(channels,)`` in the order of its output."""
    values: list[float] = []
    for task in spec.tasks:
        if isinstance(task, ImageTask):
            values.append((task.fill - task.offset) / task.scale)
        elif isinstance(task, LabelTask):
            values += [SURE, *[-SURE] * (task.channels - 1)]
    return torch.tensor([*values, *[-SURE] * (channels - len(values))])
