# SPDX-License-Identifier: Apache-2.0
"""All pictures of one predicted case: input, organs, synthetic image, reference, error, uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.dicom_out.structures import label_colours
from sfg_med.data.orientation import to_ras
from sfg_med.metrics import reference_in_unit
from sfg_med.report.case_files import Predictions
from sfg_med.report.case_volumes import CaseVolumes, open_volumes
from sfg_med.report.organ_charts import Histogram, histogram
from sfg_med.report.pictures import Outline, Panel, Window, colour_stops, outlines, slice_uri
from sfg_med.report.planes import PLANES, Plane, obliquity_degrees, organ_slices
from sfg_med.report.references import MASK, Case
from sfg_med.spec import ImageTask, LabelTask

Array = NDArray[Any]
CT_WINDOWS = {
    "soft tissue": Window(-160, 240, "W 400 L 40", "HU"),
    "bone": Window(-450, 1050, "W 1500 L 300", "HU"),
    "wide": Window(-1000, 2000, "W 3000 L 500", "HU"),
}
ERROR_HU = 300.0
STD_HU = 150.0


@dataclass(frozen=True)
class Layer:
    """A volume to show: RAS voxels, how to show them, and label maps to outline on top of them.

    ``choice`` names the CT window that the reader chooses it by; layers without one are always shown.
    """

    title: str
    voxels: Array
    window: Window
    labels: Array | None = None
    reference_labels: Array | None = None
    choice: str = ""


@dataclass(frozen=True)
class Row:
    """Pictures of one layer in the three planes, with the caption and, for maps, the colours of the scale."""

    title: str
    caption: str
    panels: tuple[Panel, ...]
    window: Window
    stops: tuple[str, ...] = ()
    dashed: bool = False
    choice: str = ""


@dataclass(frozen=True)
class CasePictures:
    """Pictures of a case, and remarks that the reader must know to trust them.

    ``histograms`` holds for each organ that was found the values of the first synthetic image in it.
    """

    rows: tuple[Row, ...]
    organs: tuple[str, ...]
    remarks: tuple[str, ...]
    histograms: Mapping[str, Histogram] = field(default_factory=dict)

    @property
    def frame_mm(self) -> float:
        """Width of the widest picture."""
        return max(panel.width_mm for row in self.rows for panel in row.panels)


def draw_case(predictions: Predictions, case: str, reference: Case | None = None) -> CasePictures:
    """Draw one case from its files.

    Args:
        predictions: what predict wrote.
        case: name of the case in the manifest.
        reference: the case in its dataset, for reference organs, reference image and error map.

    Raises:
        SfgMedError: if a file cannot be read or lies on another grid.
    """
    opened = open_volumes(predictions, case, reference)
    task = predictions.spec.label_tasks[0] if predictions.spec.label_tasks else None
    labels = opened.predicted(task.name) if task else None
    layers = list(_layers(opened, task, labels))
    colours = label_colours(task) if task else {}
    _, spacing = to_ras(opened.grid.array, opened.grid.affine)
    index = organ_slices(labels, tuple(colours), layers[0].voxels)
    tilt = obliquity_degrees(opened.grid.affine)
    if tilt > 1:
        opened.remarks.append(f"The planes are those of the image, tilted by {tilt:.0f} degrees to the patient's axes.")
    if "no_orientation" in opened.grid.notes:
        opened.remarks.append("The file does not say how the patient lies: R, L, A, P, S and I are guesses.")
    rows = tuple(_row(layer, index, spacing, colours) for layer in layers)
    found = _histograms(opened, task, labels) if task and labels is not None else {}
    return CasePictures(rows, tuple(task.labels) if task else (), tuple(opened.remarks), found)


def _histograms(case: CaseVolumes, task: LabelTask, labels: Array) -> dict[str, Histogram]:
    """Values of the first image in each organ, beside those of the reference image in the reference organ."""
    if not case.predictions.spec.image_tasks:
        return {}
    image_task = case.predictions.spec.image_tasks[0]
    image, truth = case.predicted(image_task.name), case.referenced(image_task.name)
    if image is None:
        return {}
    truth = None if truth is None else reference_in_unit(image_task, truth)
    true_labels = case.referenced_labels(task)
    places = labels if true_labels is None else true_labels
    found = {}
    for organ, value in task.labels.items():
        chart = histogram(image[labels == value], None if truth is None else truth[places == value])
        if chart is not None:
            found[organ] = chart
    return found


def _layers(case: CaseVolumes, task: LabelTask | None, labels: Array | None) -> Iterator[Layer]:
    truth = case.referenced_labels(task) if task else None
    if case.has_input:
        name = case.predictions.spec.input_name.upper()
        voxels = case.voxels
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


def _image_layers(case: CaseVolumes, task: ImageTask, labels: Array | None) -> Iterator[Layer]:
    image = case.predicted(task.name)
    if image is None:
        return
    in_hu = task.unit.upper() == "HU"
    windows = CT_WINDOWS if in_hu else {"": _range(image, task)}
    name = "Synthetic CT" if in_hu else f"Synthetic {task.name}"
    for choice, window in windows.items():
        yield Layer(name, image, window, labels, choice=choice)
    truth = case.referenced(task.name)
    if truth is not None:
        truth = reference_in_unit(task, truth)
        for choice, window in windows.items():
            yield Layer(f"Reference {'CT' if in_hu else task.name}", truth, window, choice=choice)
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


def _row(
    layer: Layer, index: tuple[int, int, int], spacing: tuple[float, float, float], colours: Mapping[int, str]
) -> Row:
    panels = tuple(_panel(layer, plane, index, spacing, colours) for plane in PLANES)
    stops = () if layer.window.colours == "gray" else tuple(colour_stops(layer.window.colours))
    dashed = layer.reference_labels is not None
    return Row(layer.title, layer.window.name, panels, layer.window, stops, dashed, layer.choice)


def _panel(
    layer: Layer,
    plane: Plane,
    index: tuple[int, int, int],
    spacing: tuple[float, float, float],
    colours: Mapping[int, str],
) -> Panel:
    at = index[plane.axis]
    picture = plane.cut(layer.voxels, at)
    height, width = plane.pixel_mm(spacing)
    drawn: list[Outline] = []
    for labels, dashed in ((layer.labels, False), (layer.reference_labels, True)):
        if labels is not None:
            drawn += outlines(plane.cut(labels, at), colours, (height, width), dashed=dashed)
    label = f"{layer.title}, {plane.name} slice {at}, {layer.window.name}"
    rows, columns = picture.shape
    return Panel(slice_uri(picture, layer.window), columns * width, rows * height, plane.marks, label, tuple(drawn))
