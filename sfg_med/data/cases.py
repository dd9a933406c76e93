# SPDX-License-Identifier: Apache-2.0
"""Cases of a dataset: which files belong together. Layouts other than one folder per case are configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfg_med.data.volumes import VOLUME_SUFFIXES, volume_suffix
from sfg_med.errors import SfgMedError
from sfg_med.spec import ModelSpec

MASK = "mask"
# Map of tissues of a simulated man, which random contrasts are painted on; no model reads or returns it.
TISSUE = "tissue"
# What becomes of label values in files that have no name: the case is refused, or they count as background.
REFUSE, BACKGROUND = "refuse", "background"


@dataclass(frozen=True)
class Dataset:
    """A folder of cases.

    Args:
        path: the folder.
        files: role to file name without suffix, with ``{case}`` for the case name. Roles are the input's name, the
            tasks' names, ``mask`` (body) and ``tissue`` (of simulated men). The default is one
            folder per case: ``{case}/mr``, ``{case}/ct``, ...
        labels: label name to value in this dataset's files, where it differs from the model's label set. A label that
            is not named here was not drawn: in the loss its voxels may be anything but the labels that were.
        splits: file name of the splits within ``path``.
        other_labels: ``"refuse"`` files with label values that have no name, or take them as ``"background"``.
    """

    path: Path
    files: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    splits: str = "splits.json"
    other_labels: str = REFUSE

    @classmethod
    def of(cls, value: str | Path | Mapping[str, Any] | Dataset) -> Dataset:
        """A folder name, or a mapping with ``path`` and options, as configs give it.

        Raises:
            SfgMedError: for an unknown option or a folder that does not exist.
        """
        if isinstance(value, Dataset):
            dataset = value
        elif isinstance(value, str | Path):
            dataset = cls(Path(value))
        else:
            try:
                dataset = cls(**{**value, "path": Path(value["path"])})
            except (TypeError, KeyError) as error:
                options = "path, files, labels, splits, other_labels"
                raise SfgMedError("dataset", f"the options {options}", str(error), "correct the config") from error
        if not dataset.path.is_dir():
            raise SfgMedError(dataset.path, "a dataset folder", "no folder", "check --dataset-dir")
        if dataset.other_labels not in (REFUSE, BACKGROUND):
            found = repr(dataset.other_labels)
            raise SfgMedError("other_labels", f"{REFUSE} or {BACKGROUND}", found, "correct the dataset's options")
        return dataset


@dataclass(frozen=True)
class Case:
    """Files of one patient: role to path. Targets may be missing.

    Args:
        name: case name, unique in its dataset.
        files: role to file.
        labels: task to label name to value in this case's file; labels that are not named were not drawn.
        other_labels: see :class:`Dataset`.
        problem: why the case cannot be used, in one line; empty if it can.
    """

    name: str
    files: Mapping[str, Path]
    labels: Mapping[str, Mapping[str, int]]
    other_labels: str = REFUSE
    problem: str = ""


def find_cases(dataset: Dataset, spec: ModelSpec, *, input_required: bool = True) -> list[Case]:
    """List a dataset's cases, sorted by name.

    Args:
        dataset: where to look.
        spec: model, whose input and tasks name the files.
        input_required: whether every case needs the model's input, and no file may be there twice; of the references of
            an evaluation one that is there twice is the ``problem`` of its case alone.

    Raises:
        SfgMedError: if there are none, a case has no input image, or a file exists in two formats.
    """
    roles = [spec.input_name, *spec.channels, MASK, TISSUE]
    patterns = {role: dataset.files.get(role, f"{{case}}/{role}") for role in roles}
    found: dict[str, dict[str, Path]] = {}
    problems: dict[str, str] = {}
    for role, pattern in patterns.items():
        for path in sorted(dataset.path.glob(f"{pattern.replace('{case}', '*')}.*")):
            name = _case_name(path, dataset.path, pattern)
            if name is None:
                continue
            files = found.setdefault(name, {})
            if role in files:
                twice = SfgMedError(path, f"one {role} file", f"also {files[role].name}", "keep one of them")
                if input_required:
                    raise twice
                problems.setdefault(name, str(twice))
            files[role] = path
    if not found:
        expected = f"cases such as {patterns[spec.input_name].format(case='case001')}.nii.gz"
        raise SfgMedError(dataset.path, expected, "none", f"formats are {' '.join(VOLUME_SUFFIXES)}")
    labels = {task.name: dict(dataset.labels.get(task.name, task.labels)) for task in spec.label_tasks}
    _check_names(dataset, spec, labels)
    for name, files in found.items():
        if input_required and spec.input_name not in files:
            present = ", ".join(p.name for p in files.values())
            expected = f"an input image {patterns[spec.input_name].format(case=name)}.nii.gz"
            raise SfgMedError(dataset.path, expected, f"only {present}", "add it, or take the case out")
    return [Case(name, found[name], labels, dataset.other_labels, problems.get(name, "")) for name in sorted(found)]


def _case_name(path: Path, root: Path, pattern: str) -> str | None:
    suffix = volume_suffix(path)
    if not suffix:
        return None
    stem = path.relative_to(root).as_posix()[: -len(suffix)]
    before, after = pattern.split("{case}")[0], pattern.split("{case}")[-1]
    first = pattern.index("{case}")
    if pattern.count("{case}") > 1:  # {case}/{case}_mr: the first part names the case
        return stem[first:].split("/")[0]
    name = stem[len(before) : len(stem) - len(after)]
    return name if name and stem == pattern.format(case=name) else None


def _check_names(dataset: Dataset, spec: ModelSpec, labels: Mapping[str, Mapping[str, int]]) -> None:
    for task in spec.label_tasks:
        unknown: Sequence[str] = [n for n in labels[task.name] if n not in task.labels]
        if unknown:
            expected = f"labels among {', '.join(task.labels)}"
            raise SfgMedError(dataset.path, expected, unknown[0], "correct the dataset's labels in the config")
