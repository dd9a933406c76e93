# SPDX-License-Identifier: Apache-2.0
"""Cut a volume into pictures as a radiologist sees them: the patient's left on the right of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Plane:
    """One of the three directions of cutting a volume in RAS orientation.

    Args:
        name: what people call it.
        axis: array axis that it is perpendicular to.
        marks: letters at the left, right, top and bottom of the picture.
    """

    name: str
    axis: int
    marks: tuple[str, str, str, str]

    def cut(self, volume: Array, index: int) -> Array:
        """Picture ``(rows, columns)``, first row on top, of a volume ``(R, A, S)``."""
        # Every axis is reversed: rows and columns run to the patient's left, back and feet.
        return np.take(volume, index, axis=self.axis)[::-1, ::-1].T

    def pixel_mm(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
        """Height and width of a pixel of the picture."""
        width, height = (size for axis, size in enumerate(spacing_mm) if axis != self.axis)
        return height, width


PLANES = (
    Plane("axial", 2, ("R", "L", "A", "P")),
    Plane("coronal", 1, ("R", "L", "S", "I")),
    Plane("sagittal", 0, ("A", "P", "S", "I")),
)


def obliquity_degrees(affine: Array) -> float:
    """Angle between the volume's axes and the patient's, the largest of the three."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(directions).max(axis=0), -1, 1)).max()))


def organ_slices(labels: Array | None, values: tuple[int, ...], image: Array) -> tuple[int, int, int]:
    """Choose a slice along each axis that shows the most of all organs.

    Args:
        labels: label map in RAS, or ``None``.
        values: labels that count.
        image: image in RAS, whose bright part is cut through the middle where there is no organ.

    Returns:
        Index along R, A and S.
    """
    best = [_best_slice(labels, values, axis) if labels is not None else None for axis in range(3)]
    if any(index is None for index in best):
        bright = np.argwhere(image > image.mean())
        middle = np.median(bright, axis=0) if len(bright) else np.array(image.shape) // 2
        best = [int(middle[axis]) if index is None else index for axis, index in enumerate(best)]
    right, anterior, superior = (int(index or 0) for index in best)
    return right, anterior, superior


def _best_slice(labels: Array, values: tuple[int, ...], axis: int) -> int | None:
    others = tuple(a for a in range(3) if a != axis)
    total = np.zeros(labels.shape[axis])
    for value in values:
        area = np.count_nonzero(labels == value, axis=others).astype(float)
        # The square root lets a small organ count beside a large one.
        total += np.sqrt(area / area.max()) if area.any() else 0
    return int(total.argmax()) if total.any() else None
