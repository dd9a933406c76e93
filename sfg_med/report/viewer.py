# SPDX-License-Identifier: Apache-2.0
"""A page to scroll through one case: its volumes and the NiiVue viewer, all in one file.

Volumes are in the page, not served: browsers refuse to fetch files beside a ``file://`` page, and a server on
127.0.0.1 could be read by every other user of a shared machine, and would have to stay alive.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy import ndimage

from sfg_med.data.dicom_out.structures import structures_of
from sfg_med.errors import SfgMedError
from sfg_med.metrics import reference_in_unit
from sfg_med.report.case_files import MANIFEST, open_predictions
from sfg_med.report.case_pictures import CT_WINDOWS, ERROR_HU, STD_HU
from sfg_med.report.case_volumes import CaseVolumes, open_volumes
from sfg_med.report.flags import flag_words
from sfg_med.report.html import render
from sfg_med.report.planes import organ_slices
from sfg_med.report.references import MASK, open_references
from sfg_med.spec import ImageTask, LabelTask

Array = NDArray[Any]
LIBRARY = "niivue.umd.js.gz"
HIDDEN_ERROR = 0.1
"""Errors below this share of the scale are left transparent, so that the image under them can be seen."""


def write_viewer(out_dir: Path, case: str, reference_dir: Path | None = None, target: Path | None = None) -> Path:
    """Write a viewer of one case.

    Args:
        out_dir: folder with ``manifest.json``.
        case: name of the case in the manifest.
        reference_dir: dataset folder, for the reference image, the error and the reference organs.
        target: the page; ``OUT/<case>_viewer.html`` by default.

    Returns:
        Path of the page.

    Raises:
        SfgMedError: if there is no such case, it failed, or a file cannot be read.
    """
    predictions = open_predictions(out_dir)
    record = predictions.records.get(case)
    if record is None:
        names = list(predictions.records)
        known = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise SfgMedError(out_dir / MANIFEST, f"the case {case}", known or "no case", "name one of these")
    if record["status"] != "done":
        raise SfgMedError(case, "a finished prediction", f"predict failed ({record['error']})", "predict it again")
    references = open_references(reference_dir, predictions.spec) if reference_dir else None
    truth = references.by_record(predictions).get(case) if references else None
    volumes = open_volumes(predictions, case, truth)
    return render(
        "viewer.html.j2",
        target or out_dir / f"{case}_viewer.html",
        case=case,
        flags=[flag_words(flag) for flag in record.get("flags", ())],
        remarks=volumes.remarks,
        simulated=bool(references and references.is_simulated),
        windows=CT_WINDOWS,
        library=_library(),
        start=json.dumps(_start(volumes)),
        layers=Markup(json.dumps(list(_layers(volumes))).replace("<", "\\u003c")),  # safe: nothing can end the element
    )


def _library() -> Markup:
    """The viewer's code, which must not end the script element around it."""
    packed = resources.files("sfg_med.report.vendor").joinpath(LIBRARY).read_bytes()
    return Markup(gzip.decompress(packed).decode("utf-8").replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def _start(case: CaseVolumes) -> list[float]:
    """Where the viewer begins, in mm (R, A, S): the slices that show most of all organs."""
    task = next(iter(case.predictions.spec.label_tasks), None)
    labels = case.predicted(task.name) if task else None
    values = tuple(task.labels.values()) if task else ()
    index = organ_slices(labels, values, case.voxels)
    return [round(float(mm), 3) for mm in (case.affine @ [*index, 1.0])[:3]]


def _layers(case: CaseVolumes) -> Iterator[dict[str, Any]]:
    spec = case.predictions.spec
    if case.has_input:
        low, high = (float(end) for end in np.percentile(case.voxels, [1, 99.5]))
        yield _layer(case, spec.input_name.upper(), case.voxels, base=True, low=low, high=high)
    for task in spec.image_tasks:
        yield from _image_layers(case, task)
    for labels in spec.label_tasks:
        yield from _label_layers(case, labels)


def _image_layers(case: CaseVolumes, task: ImageTask) -> Iterator[dict[str, Any]]:
    image, truth = case.predicted(task.name), case.referenced(task.name)
    if image is None:
        return
    in_hu = task.unit.upper() == "HU"
    wide = CT_WINDOWS["soft tissue"]
    low, high = (wide.low, wide.high) if in_hu else (float(end) for end in np.percentile(image, [1, 99.5]))
    shown = {"base": True, "low": low, "high": high, "unit": task.unit, "ct": in_hu}
    name = "CT" if in_hu else task.name
    yield _layer(case, f"Synthetic {name}", image, **shown)
    if truth is not None:
        truth = reference_in_unit(task, truth)
        yield _layer(case, f"Reference {name}", truth, **shown)
        error, mask = image.astype(np.float32) - truth, case.referenced(MASK)
        error = error if mask is None else np.where(mask > 0, error, 0)
        limit = ERROR_HU if in_hu else float(np.percentile(np.abs(error), 99)) or 1.0
        seen = {"low": HIDDEN_ERROR * limit, "high": limit, "colours": "warm", "negative": "winter"}
        title = f"Error, synthetic minus reference, from {HIDDEN_ERROR * limit:g} to {limit:g} {task.unit}"
        yield _layer(case, title, np.rint(error).astype(np.int16) if in_hu else error, unit=task.unit, **seen)
    deviation = case.predicted(f"{task.name}_std")
    if deviation is not None:
        top = STD_HU if in_hu else float(np.percentile(deviation, 99.5)) or 1.0
        title = f"Uncertainty of {task.name}, 0 to {top:g} {task.unit}"
        yield _layer(case, title, deviation, low=0.0, high=top, unit=task.unit, colours="magma")


def _label_layers(case: CaseVolumes, task: LabelTask) -> Iterator[dict[str, Any]]:
    entropy = case.predicted(f"{task.name}_entropy")
    if entropy is not None:
        top = float(np.log(task.channels))
        title = f"Uncertainty of organs, 0 to {top:.1f} nats"
        yield _layer(case, title, entropy, low=0.0, high=top, unit="nats", colours="magma")
    for title, array, true in (
        ("Reference outlines (white)", case.referenced_labels(task), True),
        ("Organs", case.predicted(task.name), False),
    ):
        if array is not None:
            shown = _shells(array, task) if true else array
            yield _layer(case, title, shown.astype(np.uint8), labels=_label_colours(task, true), outline=true)


def _shells(labels: Array, task: LabelTask) -> Array:
    """Label map without the voxels whose six neighbours have the same label."""
    result = np.zeros_like(labels)
    for value in task.labels.values():
        inside = labels == value
        result[inside & ~ndimage.binary_erosion(inside)] = value
    return result


def _label_colours(task: LabelTask, white: bool) -> dict[str, list[Any]]:
    """NiiVue's table of label colours: background clear, then each label by its value."""
    table: dict[str, list[Any]] = {"R": [0], "G": [0], "B": [0], "A": [0], "I": [0], "labels": [""]}
    for structure in structures_of(task):
        for channel, amount in zip("RGB", (255, 255, 255) if white else structure.colour, strict=True):
            table[channel].append(amount)
        table["A"].append(255)
        table["I"].append(structure.value)
        table["labels"].append(structure.name)
    return table


def _layer(case: CaseVolumes, title: str, array: Array, **values: Any) -> dict[str, Any]:
    """A volume as compressed NIfTI with nothing in its header but the grid; ``values`` say how it is shown."""
    small = array.astype(np.float32) if array.dtype.kind == "f" or array.dtype.itemsize > 4 else array
    image = nib.Nifti1Image(np.ascontiguousarray(small), case.affine)
    packed = gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
    shown = {
        "base": False,
        "ct": False,
        "outline": False,
        "unit": "",
        "colours": "gray",
        "negative": "",
        "low": None,
        "high": None,
    }
    return {**shown, "labels": None, "title": title, **values, "data": base64.b64encode(packed).decode()}
