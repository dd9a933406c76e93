# SPDX-License-Identifier: Apache-2.0
"""The true images and organs that predictions are compared with, and which prediction belongs to which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.cases import MASK, Case, Dataset, find_cases
from sfg_med.data.volumes import volume_stem
from sfg_med.data.walk import real
from sfg_med.errors import SfgMedError
from sfg_med.report.case_files import Predictions, read_json
from sfg_med.spec import LabelTask, ModelSpec

__all__ = ["MASK", "Case", "References", "labels_of_model", "open_references"]


@dataclass(frozen=True)
class References:
    """Cases of a dataset that have the truth of at least one task, by name."""

    dataset: Dataset
    cases: Mapping[str, Case]

    @property
    def is_simulated(self) -> bool:
        """Whether the dataset says that it was simulated."""
        return (self.dataset.path / "simulation.json").is_file()

    def record_name(self, case: Case, predictions: Predictions) -> str:
        """Name of a case in the manifest of predict, or what predict would call it.

        The same input file decides, since names differ where the dataset is not one folder per case.
        """
        source = case.files.get(predictions.spec.input_name)
        if source is None:
            return case.name
        known = predictions.name_by_input.get(real(source))
        if known is not None:
            return known
        stem = source.relative_to(self.dataset.path).parent / volume_stem(source)
        return (stem.parent if stem.name == predictions.spec.input_name else stem).as_posix()

    def by_record(self, predictions: Predictions) -> dict[str, Case]:
        """Case of each name in the manifest."""
        return {self.record_name(case, predictions): case for case in self.cases.values()}


def open_references(path: Path, spec: ModelSpec) -> References:
    """Find the references of a model's tasks.

    Args:
        path: a dataset folder, or a JSON file with the options of a :class:`Dataset` for other layouts, whose
            ``path`` counts from the file.
        spec: the model.

    Raises:
        SfgMedError: if there is no reference.
    """
    if path.suffix == ".json":
        options = read_json(path, "a dataset: path, files, labels, splits")
        if not isinstance(options, dict):
            raise SfgMedError(path, "a dataset: path, files, labels, splits", "no object", "see how-to/evaluate")
        dataset = Dataset.of({**options, "path": str(path.parent / str(options.get("path", ".")))})
    else:
        dataset = Dataset.of(path)
    found = find_cases(dataset, spec, input_required=False)
    tasks = {task.name for task in spec.tasks}
    cases = {case.name: case for case in found if tasks & set(case.files)}
    if not cases:
        wanted = " or ".join(f"<case>/{task}.nii.gz" for task in sorted(tasks))
        raise SfgMedError(path, f"reference files {wanted}", "none", "give the dataset folder with -r")
    return References(dataset, cases)


def labels_of_model(task: LabelTask, case: Case, array: NDArray[Any]) -> NDArray[Any]:
    """Give a reference label map the model's values, where the dataset has its own.

    Organs that the dataset does not name were not drawn and become background, so they are not scored.
    """
    named = case.labels.get(task.name, task.labels)
    if dict(named) == dict(task.labels):
        return array
    result = np.zeros(array.shape, np.int32)
    for organ, value in named.items():
        result[array == value] = task.labels[organ]
    return result
