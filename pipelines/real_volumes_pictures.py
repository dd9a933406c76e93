# SPDX-License-Identifier: Apache-2.0
"""A PNG of one case to look at: MR with predicted and reference organs, and the synthetic CT. Never to be published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from pipelines.real_volumes_cases import RealCase
from sfg_med.data.atomic import atomic_path
from sfg_med.data.dicom_out.structures import label_colours
from sfg_med.data.orientation import to_ras
from sfg_med.data.volumes import read_volume
from sfg_med.report.case_pictures import CT_WINDOWS
from sfg_med.report.planes import PLANES, Plane, organ_slices
from sfg_med.spec import ModelSpec

Array = NDArray[Any]
HEIGHT_INCHES = 3.6


def write_picture(path: Path, case: RealCase, spec: ModelSpec, record: Mapping[str, Any], folder: Path) -> None:
    """Draw axial, coronal and sagittal slices through the organs: the reference's, else the predicted ones.

    Args:
        path: of the PNG.
        case: the case and its reference.
        spec: the model's tasks.
        record: the case's record in the manifest.
        folder: folder that the record's files are relative to.
    """
    grid = read_volume(record["input"])
    mr, spacing = to_ras(grid.array, grid.affine)

    def ras(file: Path) -> Array:
        return to_ras(read_volume(file, blank_ok=True).array, grid.affine)[0]

    organs: dict[str, Array] = {}
    colours: dict[str, str] = {}
    for task in spec.label_tasks:
        labels = ras(folder / record["files"][task.name])
        organs |= {organ: labels == value for organ, value in task.labels.items()}
        colours |= dict(zip(task.labels, label_colours(task).values(), strict=True))
    truth = {organ: ras(case.reference) == value for organ, value in case.organs.items()} if case.reference else {}
    shown = _numbered(truth) if truth else _numbered(organs)
    index = organ_slices(shown, tuple(range(1, int(shown.max()) + 1)), mr) if shown is not None else (0, 0, 0)
    image = next((t for t in spec.image_tasks if t.unit.upper() == "HU"), None)
    hu = ras(folder / record["files"][image.name]) if image else None
    figure = Figure(figsize=(4 * len(PLANES), HEIGHT_INCHES * (1 + (hu is not None))), layout="constrained")
    FigureCanvasAgg(figure)
    grid_axes = figure.subplots(1 + (hu is not None), len(PLANES), squeeze=False)
    low, high = np.percentile(mr, [1, 99.5])
    bone = CT_WINDOWS["bone"]
    for plane, column in zip(PLANES, grid_axes.T, strict=True):
        _show(column[0], plane, mr, index, spacing, (float(low), float(high)))
        _contours(column[0], plane, organs, index, colours, "solid")
        _contours(column[0], plane, truth, index, colours, "dotted")
        column[0].set_title(f"{plane.name} {index[plane.axis]}", fontsize=9)
        if hu is not None:
            _show(column[1], plane, hu, index, spacing, (bone.low, bone.high))
    handles = [Line2D([], [], color=colours[organ], label=organ.replace("_", " ")) for organ in organs]
    handles.append(Line2D([], [], color="grey", linestyle="dotted", label="reference"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.suptitle(f"{case.key}   {bone.name} below   research only", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def _numbered(masks: Mapping[str, Array]) -> Array:
    """One label map of all masks."""
    result: Array = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for value, mask in enumerate(masks.values(), 1):
        result[mask] = value
    return result


def _show(
    axes: Axes,
    plane: Plane,
    volume: Array,
    index: tuple[int, int, int],
    spacing: tuple[float, float, float],
    window: tuple[float, float],
) -> None:
    height, width = plane.pixel_mm(spacing)
    picture = plane.cut(volume, index[plane.axis])
    axes.imshow(picture, cmap="gray", vmin=window[0], vmax=window[1], aspect=height / width, interpolation="nearest")
    axes.set_axis_off()
    for letter, x, y in zip(plane.marks, (0.03, 0.97, 0.5, 0.5), (0.5, 0.5, 0.96, 0.04), strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, color="yellow", ha="center", va="center", fontsize=8)


def _contours(
    axes: Axes,
    plane: Plane,
    masks: Mapping[str, Array],
    index: tuple[int, int, int],
    colours: Mapping[str, str],
    style: str,
) -> None:
    for organ, mask in masks.items():
        picture = plane.cut(mask, index[plane.axis])
        if picture.any() and organ in colours:
            axes.contour(picture.astype(float), [0.5], colors=[colours[organ]], linewidths=1.1, linestyles=style)
