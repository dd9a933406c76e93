# SPDX-License-Identifier: Apache-2.0
"""All pictures of one predicted case: input, organs, synthetic image, reference, error, uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.volumes import Volume, read_volume
from sfg_med.metrics import reference_in_unit
from sfg_med.report.case_files import Predictions
from sfg_med.report.evaluation import check_same_grid
from sfg_med.report.pictures import Outline, Panel, Window, colour_stops, outlines, slice_uri
from sfg_med.report.planes import PLANES, Plane, obliquity_degrees, organ_slices, to_ras
from sfg_med.report.references import MASK, Case, labels_of_model
from sfg_med.spec import ImageTask, LabelTask

Array = NDArray[Any]
SOFT_TISSUE = Window(-160, 240, "W 400 L 40", "HU")
BONE = Window(-450, 1050, "W 1500 L 300", "HU")
ERROR_HU = 300.0
STD_HU = 150.0


@dataclass(frozen=True)
class Layer:
    """A volume to show: RAS voxels, how to show them, and label maps to outline on top of them."""

    title: str
    voxels: Array
    window: Window
    labels: Array | None = None
    reference_labels: Array | None = None


@dataclass(frozen=True)
class Row:
    """Pictures of one layer in the three planes, with the caption and, for maps, the colours of the scale."""

    title: str
    caption: str
    panels: tuple[Panel, ...]
    window: Window
    stops: tuple[str, ...] = ()
    dashed: bool = False


@dataclass(frozen=True)
class CasePictures:
    """Pictures of a case, and remarks that the reader must know to trust them."""

    rows: tuple[Row, ...]
    organs: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def frame_mm(self) -> float:
        """Width of the widest picture."""
        return max(panel.width_mm for row in self.rows for panel in row.panels)


@dataclass
class _Case:
    """Volumes of one case in RAS, read once."""

    predictions: Predictions
    name: str
    reference: Case | None
    grid: Volume
    has_input: bool
    remarks: list[str]

    def predicted(self, key: str) -> Array | None:
        path = self.predictions.file(self.name, key)
        return None if path is None else self._ras(read_volume(path, role=key, blank_ok=True))

    def referenced(self, role: str) -> Array | None:
        path = self.reference.files.get(role) if self.reference else None
        if path is None:
            return None
        volume = read_volume(path, role=f"reference {role}", blank_ok=True)
        check_same_grid(volume, self.grid)
        return self._ras(volume)

    def _ras(self, volume: Volume) -> Array:
        return to_ras(volume.array, self.grid.affine)[0]


def draw_case(predictions: Predictions, case: str, reference: Case | None = None) -> CasePictures:
    """Draw one case from its files.

    Args:
        predictions: what predict wrote.
        case: name of the case in the manifest.
        reference: the case in its dataset, for reference organs, reference image and error map.

    Raises:
        SfgMedError: if a file cannot be read or lies on another grid.
    """
    opened = _open(predictions, case, reference)
    task = predictions.spec.label_tasks[0] if predictions.spec.label_tasks else None
    labels = opened.predicted(task.name) if task else None
    layers = list(_layers(opened, task, labels))
    values = tuple(task.labels.values()) if task else ()
    _, spacing = to_ras(opened.grid.array, opened.grid.affine)
    index = organ_slices(labels, values, layers[0].voxels)
    tilt = obliquity_degrees(opened.grid.affine)
    if tilt > 1:
        opened.remarks.append(f"The planes are those of the image, tilted by {tilt:.0f} degrees to the patient's axes.")
    if "no_orientation" in opened.grid.notes:
        opened.remarks.append("The file does not say how the patient lies: R, L, A, P, S and I are guesses.")
    rows = tuple(_row(layer, index, spacing, values) for layer in layers)
    return CasePictures(rows, tuple(task.labels) if task else (), tuple(opened.remarks))


def _open(predictions: Predictions, case: str, reference: Case | None) -> _Case:
    """Find the image that defines the grid: the input where it still is, else a prediction."""
    source = predictions.records.get(case, {}).get("input")
    path = Path(source) if source and Path(source).exists() else None
    if path is None and reference is not None:
        path = reference.files.get(predictions.spec.input_name)
    if path is not None:
        return _Case(predictions, case, reference, read_volume(path), True, [])
    first = next((f for t in predictions.spec.tasks if (f := predictions.file(case, t.name))), None)
    remark = f"The input is not at {source} any more: it is not shown."
    grid = read_volume(first or Path(case), role="prediction", blank_ok=True)
    return _Case(predictions, case, reference, grid, False, [remark])


def _layers(case: _Case, task: LabelTask | None, labels: Array | None) -> Iterator[Layer]:
    truth = case.referenced(task.name) if task else None
    if task and truth is not None and case.reference:
        truth = labels_of_model(task, case.reference, truth)
    if case.has_input:
        name = case.predictions.spec.input_name.upper()
        voxels = to_ras(case.grid.array, case.grid.affine)[0]
        low, high = np.percentile(voxels, [1, 99.5])
        window = Window(float(low), float(high), f"{low:.0f} to {high:.0f}")
        yield Layer(name, voxels, window)
        if labels is not None:
            yield Layer(f"Organs on {name}", voxels, window, labels, truth)
    for image_task in case.predictions.spec.image_tasks:
        yield from _image_layers(case, image_task, None if case.has_input else labels)
    for label_task in case.predictions.spec.label_tasks:
        entropy = case.predicted(f"{label_task.name}_entropy")
        if entropy is not None:
            top = math.log(label_task.channels)
            yield Layer("Uncertainty of organs", entropy, Window(0, top, "entropy", "nats", "magma"), labels)


def _image_layers(case: _Case, task: ImageTask, labels: Array | None) -> Iterator[Layer]:
    image = case.predicted(task.name)
    if image is None:
        return
    in_hu = task.unit.upper() == "HU"
    windows = (SOFT_TISSUE, BONE) if in_hu else (_range(image, task),)
    name = "Synthetic CT" if in_hu else f"Synthetic {task.name}"
    for window in windows:
        yield Layer(name, image, window, labels)
    truth = case.referenced(task.name)
    if truth is not None:
        truth = reference_in_unit(task, truth)
        for window in windows:
            yield Layer(f"Reference {'CT' if in_hu else task.name}", truth, window)
        error = image.astype(np.float32) - truth
        mask = case.referenced(MASK)
        error = error if mask is None else np.where(mask > 0, error, np.nan)
        limit = ERROR_HU if in_hu else _round(float(np.nanpercentile(np.abs(error), 99)))
        place = "" if mask is None else ", inside the mask"
        yield Layer("Error", error, Window(-limit, limit, f"synthetic minus reference{place}", task.unit, "RdBu_r"))
    deviation = case.predicted(f"{task.name}_std")
    if deviation is not None:
        top = STD_HU if in_hu else _round(float(np.percentile(deviation, 99.5)))
        yield Layer(f"Uncertainty of {task.name}", deviation, Window(0, top, "SD of the samples", task.unit, "magma"))


def _range(image: Array, task: ImageTask) -> Window:
    low, high = np.percentile(image, [1, 99.5])
    return Window(float(low), float(high), f"{low:.4g} to {high:.4g} {task.unit}", task.unit)


def _round(value: float) -> float:
    """Next number with one digit: the end of a scale that a person reads."""
    step = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return math.ceil(value / step) * step if value > 0 else 1.0


def _row(layer: Layer, index: tuple[int, int, int], spacing: tuple[float, float, float], values: Sequence[int]) -> Row:
    panels = tuple(_panel(layer, plane, index, spacing, values) for plane in PLANES)
    stops = () if layer.window.colours == "gray" else tuple(colour_stops(layer.window.colours))
    dashed = layer.reference_labels is not None
    return Row(layer.title, layer.window.name, panels, layer.window, stops, dashed)


def _panel(
    layer: Layer,
    plane: Plane,
    index: tuple[int, int, int],
    spacing: tuple[float, float, float],
    values: Sequence[int],
) -> Panel:
    at = index[plane.axis]
    picture = plane.cut(layer.voxels, at)
    height, width = plane.pixel_mm(spacing)
    drawn: list[Outline] = []
    for labels, dashed in ((layer.labels, False), (layer.reference_labels, True)):
        if labels is not None:
            drawn += outlines(plane.cut(labels, at), values, (height, width), dashed=dashed)
    label = f"{layer.title}, {plane.name} slice {at}, {layer.window.name}"
    rows, columns = picture.shape
    return Panel(slice_uri(picture, layer.window), columns * width, rows * height, plane.marks, label, tuple(drawn))
