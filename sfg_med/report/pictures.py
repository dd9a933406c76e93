# SPDX-License-Identifier: Apache-2.0
"""Small pictures for HTML pages: grey or coloured slices as data URIs, organ outlines as SVG paths in mm."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

Array = NDArray[Any]

LONGEST_PIXELS = 320
JPEG_QUALITY = 86


@dataclass(frozen=True)
class Window:
    """How values become a picture.

    Args:
        low: value shown as the first colour.
        high: value shown as the last colour.
        name: for the caption, such as ``"W 400 L 40"``.
        unit: of the values.
        colours: name of a matplotlib colour map; grey images need no scale beside them.
    """

    low: float
    high: float
    name: str
    unit: str = ""
    colours: str = "gray"


@dataclass(frozen=True)
class Outline:
    """An organ's border in one picture: SVG path in mm, colour, and whether it is the reference's."""

    path: str
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture on the page.

    Args:
        uri: ``data:`` URI of the pixels.
        width_mm: extent of the picture.
        height_mm: extent of the picture.
        marks: letters at the left, right, top and bottom.
        outlines: what is drawn on top.
        label: what a person who cannot see the picture is told.
    """

    uri: str
    width_mm: float
    height_mm: float
    marks: tuple[str, str, str, str]
    label: str
    outlines: tuple[Outline, ...] = field(default=())

    def view_box(self, frame_mm: float) -> str:
        """SVG view that centres the picture in a frame, which makes all planes of a case one scale."""
        return f"{self._left(frame_mm):.1f} 0 {frame_mm:.1f} {self.height_mm:.1f}"

    def letters(self, frame_mm: float) -> list[tuple[float, float, str]]:
        """Position in mm and letter of the four marks, just inside the frame."""
        left, inset = self._left(frame_mm), frame_mm / 28
        middle_x, middle_y = self.width_mm / 2, self.height_mm / 2
        places = (
            (left + inset, middle_y),
            (left + frame_mm - inset, middle_y),
            (middle_x, inset),
            (middle_x, self.height_mm - inset),
        )
        return [(x, y, letter) for (x, y), letter in zip(places, self.marks, strict=True)]

    def _left(self, frame_mm: float) -> float:
        return (self.width_mm - frame_mm) / 2


def slice_uri(picture: Array, window: Window) -> str:
    """JPEG of a slice ``(rows, columns)`` as a data URI; at most 320 pixels along a side, NaN is black."""
    span = (window.high - window.low) or 1.0
    share = np.nan_to_num((picture.astype(np.float32) - window.low) / span).clip(0, 1)
    if window.colours == "gray":
        image = Image.fromarray(np.rint(share * 255).astype(np.uint8))
    else:
        coloured = colormaps[window.colours](share, bytes=True)[..., :3]
        coloured[np.isnan(picture)] = 0
        image = Image.fromarray(coloured)
    scale = LONGEST_PIXELS / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def outline(picture: Array, pixel_mm: tuple[float, float]) -> str:
    """SVG path, in mm from the upper left corner, around the true pixels of ``(rows, columns)``, or empty."""
    padded = np.pad(picture.astype(np.float32), 1)
    height, width = pixel_mm
    parts = []
    for contour in find_contours(padded, 0.5):
        corners = approximate_polygon(contour, 0.15) - 0.5  # pixel centre 0 of the padded picture lies at -0.5
        points = " ".join(f"{column * width:.1f},{row * height:.1f}" for row, column in corners)
        parts.append(f"M{points}Z")
    return "".join(parts)


def outlines(
    picture: Array, colours: Mapping[int, str], pixel_mm: tuple[float, float], *, dashed: bool = False
) -> tuple[Outline, ...]:
    """Borders in a slice ``(rows, columns)`` of a label map, of the labels that have a colour."""
    paths = ((outline(picture == value, pixel_mm), colour) for value, colour in colours.items())
    return tuple(Outline(path, colour, dashed) for path, colour in paths if path)


def colour_stops(name: str, count: int = 9) -> list[str]:
    """Hex colours along a matplotlib colour map, for a scale drawn with CSS."""
    return ["#{:02x}{:02x}{:02x}".format(*colormaps[name](x, bytes=True)[:3]) for x in np.linspace(0, 1, count)]
