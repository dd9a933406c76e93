# SPDX-License-Identifier: Apache-2.0
"""One image of a series with its place in the patient: a file, or a frame of a multi-frame file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.tag import Tag

# Siemens writes the b-value here where the standard's attribute is missing.
SIEMENS_B_VALUE = Tag(0x0019, 0x100C)
# A whole body has two thousand slices, a dynamic series a few thousand frames.
MAX_FRAMES = 10_000


@dataclass(frozen=True)
class Slice:
    """An image plane.

    Args:
        file: where it is.
        frame: index in the file, from 0.
        position: (3,) centre of the first voxel in LPS millimetres; None if the file does not say.
        orientation: (6,) direction cosines along a row and along a column, LPS; None if the file does not say.
        spacing_mm: between rows, between columns; None if the file does not say.
        shape: rows, columns.
        rescale: slope and intercept that make values of the stored ones.
        image_uid: SOP Instance UID.
        sop_class: SOP Class UID.
        marks: what may tell two volumes of a series apart (``b-values``, ``echo times``, ...), as text.
    """

    file: Path
    frame: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    shape: tuple[int, int]
    rescale: tuple[float, float] = (1.0, 0.0)
    image_uid: str = ""
    sop_class: str = ""
    marks: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def placed(self) -> bool:
        """Whether position, orientation and voxel size are known and possible."""
        if self.position is None or self.orientation is None or self.spacing_mm is None:
            return False
        if (len(self.position), len(self.orientation), len(self.spacing_mm)) != (3, 6, 2):
            return False
        numbers = np.array([*self.position, *self.orientation, *self.spacing_mm])
        return bool(np.isfinite(numbers).all() and min(self.spacing_mm) > 0 and np.linalg.norm(self.normal) > 0.9)

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) direction from one slice to the next, LPS."""
        cosines = np.array(self.orientation, np.float64)
        return np.cross(cosines[:3], cosines[3:])


def slices_of(file: Path, dataset: Dataset, image_uid: str, sop_class: str) -> tuple[Slice, ...]:
    """The planes of a file, in the order in which they are stored.

    Args:
        file: the file.
        dataset: its attributes; pixels are not needed.
        image_uid: SOP Instance UID.
        sop_class: SOP Class UID.

    Raises:
        ValueError: for a number of frames that the file cannot hold.
    """
    shape = (int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0))
    if 0 in shape:
        return ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 0 < count <= min(MAX_FRAMES, file.stat().st_size):  # a plane takes a byte at least
        raise ValueError(f"{count} frames")
    if frames is None and count == 1:
        return (replace(_slice(file, 0, shape, [dataset]), image_uid=image_uid, sop_class=sop_class),)
    frames = [*(frames or []), *[Dataset()] * count][:count]
    found = (_slice(file, i, shape, [*_groups(frame), *_groups(shared[0])]) for i, frame in enumerate(frames))
    return tuple(replace(plane, image_uid=image_uid, sop_class=sop_class) for plane in found)


def _groups(frame: Dataset) -> list[Dataset]:
    """The functional groups of a frame, each a sequence of one item."""
    return [element.value[0] for element in frame if element.VR == "SQ" and element.value]


def _slice(file: Path, frame: int, shape: tuple[int, int], groups: list[Dataset]) -> Slice:
    slope, intercept = _number(groups, "RescaleSlope", 1.0), _number(groups, "RescaleIntercept", 0.0)
    return Slice(
        file,
        frame,
        _numbers(groups, "ImagePositionPatient"),
        _numbers(groups, "ImageOrientationPatient"),
        _numbers(groups, "PixelSpacing"),
        shape,
        (slope, intercept),
        marks=_marks(groups),
    )


def _marks(groups: list[Dataset]) -> dict[str, str]:
    siemens = next((g[SIEMENS_B_VALUE].value for g in groups if SIEMENS_B_VALUE in g), None)
    if isinstance(siemens, bytes):  # files in implicit VR, and those that lost their VR on the way
        siemens = siemens.decode("ascii", "replace").strip(" \0")
    kind = _first(groups, "ImageType") or _first(groups, "FrameType")
    found = {
        "b-values": _first(groups, "DiffusionBValue") if siemens is None else siemens,
        "echo times": _first(groups, "EffectiveEchoTime") or _first(groups, "EchoTime"),
        "image types": "\\".join(map(str, kind)) if kind else None,
        "times": _first(groups, "TemporalPositionIdentifier") or _first(groups, "TemporalPositionIndex"),
        "sequence names": _first(groups, "SequenceName"),
        "acquisitions": _first(groups, "AcquisitionNumber"),
    }
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in found.items()
        if value not in (None, "")
    }


def _first(groups: list[Dataset], name: str) -> Any:
    return next((group[name].value for group in groups if name in group), None)


def _number(groups: list[Dataset], name: str, default: float) -> float:
    value = _first(groups, name)
    return default if value in (None, "") else float(value)


def _numbers(groups: list[Dataset], name: str) -> tuple[float, ...] | None:
    value = _first(groups, name)
    try:
        return None if value is None else tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
