# SPDX-License-Identifier: Apache-2.0
"""All DICOM results of a case, in one folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from sfg_med.data.atomic import atomic_folder
from sfg_med.data.dicom import MAKER, Series
from sfg_med.data.dicom.header import read_header
from sfg_med.data.dicom_out.ct_series import write_ct
from sfg_med.data.dicom_out.files import Mark
from sfg_med.data.dicom_out.identity import Identity
from sfg_med.data.dicom_out.source import Source, read_source
from sfg_med.data.dicom_out.structures import structures_of
from sfg_med.errors import SfgMedError
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

# Series numbers of the results; further tasks follow.
_FIRST_NUMBER = 9001


def dicom_files(spec: ModelSpec, stem: str) -> dict[str, str]:
    """Output key to path relative to the output folder: a folder for ``ct_dicom``, files for the organs.

    Raises:
        SfgMedError: if nothing of what the model predicts has a form in DICOM.
    """
    files = {}
    for task in spec.volume_tasks:
        if isinstance(task, LabelTask):
            files[f"{task.name}_rtstruct"] = f"{stem}_dicom/{task.name}_rtstruct.dcm"
            files[f"{task.name}_dicom"] = f"{stem}_dicom/{task.name}.dcm"
        elif _is_ct(task):
            files[f"{task.name}_dicom"] = f"{stem}_dicom/{task.name}"
    if not files:
        found = ", ".join(f"{task.name} ({task.contents})" for task in spec.tasks)
        raise SfgMedError("--dicom", "a model of images in HU or of organs", found, "predict without --dicom")
    return files


def write_results(
    folder: Path, series: Series, spec: ModelSpec, arrays: Mapping[str, NDArray[Any]], identity: Identity, model: str
) -> None:
    """Write a case: synthetic CTs as series, organs as structure set and segmentation.

    Args:
        folder: the folder to make; one of earlier results is replaced.
        series: the input.
        spec: the model.
        arrays: task name to (X, Y, Z) values as they are in the NIfTI files.
        identity: keep or remove identity.
        model: SHA-256 of the model.

    Raises:
        SfgMedError: if the folder holds anything else than earlier results, or the input is gone.
    """
    source = read_source(series, identity)
    if source.multi_frame and not any(map(_is_ct, spec.image_tasks)):
        found = "one of many frames"
        raise SfgMedError(series.path, "for --dicom, files of one slice each", found, "predict it without --dicom")
    number = _FIRST_NUMBER
    written: list[tuple[Dataset, ...]] = []
    with atomic_folder(folder) as new:
        for image in (t for t in spec.image_tasks if _is_ct(t)):
            (new / image.name).mkdir()
            mark = Mark(number, _content(model, source.series_uid, image.name, arrays[image.name]), model)
            written.append(write_ct(new / image.name, arrays[image.name], source, image, mark))
            number += 1
        for task in spec.label_tasks:
            mark = Mark(number, _content(model, source.series_uid, task.name, arrays[task.name]), model)
            _write_labels(new, arrays[task.name], task, source, written[0] if written else source.images, mark)
            number += 2
        remove_results(folder)


def _write_labels(
    folder: Path, labels: NDArray[Any], task: LabelTask, source: Source, images: tuple[Dataset, ...], mark: Mark
) -> None:
    from sfg_med.data.dicom_out.segmentation import write_segmentation  # highdicom takes a second to import
    from sfg_med.data.dicom_out.structure_set import write_structure_set

    structures = structures_of(task)
    write_structure_set(folder / f"{task.name}_rtstruct.dcm", labels, structures, source, images, mark)
    mark = replace(mark, number=mark.number + 1)
    # segments are shown on the MR; where that is one file of many frames, on the synthetic CT
    shown_on = images if source.multi_frame else source.images
    write_segmentation(folder / f"{task.name}.dcm", labels, structures, source, shown_on, mark)


def results_folder(output: Path, stem: str) -> Path:
    """Where the DICOM results of a case lie."""
    return output / f"{stem}_dicom"


def remove_results(folder: Path) -> None:
    """Delete a folder of earlier results.

    Raises:
        SfgMedError: if there is anything else in it; nothing is deleted then.
    """
    if not folder.exists():
        return
    for path in (p for p in folder.rglob("*") if not p.is_dir()):
        if path.suffix != ".dcm" or not _is_ours(path):
            found = f"other files ({path.relative_to(folder)})"
            raise SfgMedError(folder, "nothing but earlier DICOM results", found, "choose another -o")
    shutil.rmtree(folder)


def has_results(folder: Path) -> bool:
    """Whether there is anything of earlier results in a folder."""
    return any(map(_is_ours, folder.rglob("*.dcm")))


def is_deidentified(folder: Path) -> bool:
    """Whether earlier results are without identity."""
    first = next(iter(sorted(folder.rglob("*.dcm"))), None)
    if first is None:
        return False
    header = dcmread(first, stop_before_pixels=True, specific_tags=["PatientIdentityRemoved"])
    return header.get("PatientIdentityRemoved") == "YES"


def _is_ours(path: Path) -> bool:
    try:
        header = read_header(path)
    except SfgMedError:
        return False
    return header is not None and header.manufacturer == MAKER


def _is_ct(task: object) -> bool:
    return isinstance(task, ImageTask) and task.unit.upper() == "HU" and task.normalize == "fixed"


def _content(model: str, series_uid: str, task: str, array: NDArray[Any]) -> str:
    """Hash of everything that decides a result."""
    digest = hashlib.sha256("/".join([model, series_uid, task]).encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
