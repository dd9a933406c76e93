# SPDX-License-Identifier: Apache-2.0
"""What a model reads and returns: tasks, label set, grid. Configuration and model files carry it; code never does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sfg_med.errors import SfgMedError
from sfg_med.spec_check import check_spec

# Suffix of the entry that says which of a task's channels a case was annotated for.
ANNOTATED = "_annotated"
PELVIS_LABELS = {"prostate": 1, "bladder": 2, "rectum": 3, "femoral_head_left": 4, "femoral_head_right": 5}


@dataclass(frozen=True)
class ImageTask:
    """A synthesised image, such as a CT in Hounsfield units.

    The network works in ``(value - offset) / scale``; files hold ``value``, rounded to ``dtype``.

    Args:
        name: task name; also the file name of the reference (``<case>/ct.nii.gz``) and the suffix of the output.
        unit: unit of ``value``, for reports.
        value_range: lowest and highest value kept, in ``unit``.
        fill: value where nothing is known (air), in ``unit``.
        offset: value that the network sees as 0.
        scale: difference in ``unit`` that the network sees as 1.
        dtype: NumPy data type of written files.
        normalize: ``"fixed"`` uses offset and scale as they are; ``"zscore"`` takes each reference image's
            own mean and standard deviation of its non-fill voxels (MR targets in arbitrary units).
    """

    name: str = "ct"
    unit: str = "HU"
    value_range: tuple[float, float] = (-1024.0, 3000.0)
    fill: float = -1024.0
    offset: float = 0.0
    scale: float = 1000.0
    dtype: str = "int16"
    normalize: str = "fixed"
    kind: str = "image"

    @property
    def contents(self) -> str:
        """Unit of the image, for people."""
        return self.unit

    @property
    def channels(self) -> int:
        """Output channels of the network for this task."""
        return 1


@dataclass(frozen=True)
class LabelTask:
    """A segmentation: label names and their values in files; value 0 is background.

    Args:
        name: task name; also the file name of the reference (``<case>/seg.nii.gz``) and the suffix of the output.
        labels: label name to value in files. Channel 0 of the network is background, channel ``i`` the i-th label.
        structures: label name to what it is in DICOM, where that is not known by its name: any of ``code`` (value,
            scheme, meaning), ``side`` (left or right), ``colour`` (red, green, blue), ``type`` (of the RT ROI).
    """

    name: str = "seg"
    labels: Mapping[str, int] = field(default_factory=lambda: dict(PELVIS_LABELS))
    structures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kind: str = "labels"

    @property
    def contents(self) -> str:
        """Names of the labels, for people."""
        return ", ".join(self.labels).replace("_", " ")

    @property
    def channels(self) -> int:
        """Output channels of the network for this task: background and one for each label."""
        return 1 + len(self.labels)


@dataclass(frozen=True)
class ValueTask:
    """A regression of one number for a whole image, such as an age.

    The network works in ``(value - offset) / scale``.

    Args:
        name: task name.
        unit: unit of ``value``, for reports.
        offset: value that the network sees as 0.
        scale: difference in ``unit`` that the network sees as 1.
        lowest: smallest value there is, in ``unit``; smaller predictions become it. ``None`` for no limit.
    """

    name: str = "age"
    unit: str = "years"
    offset: float = 0.0
    scale: float = 100.0
    lowest: float | None = None
    kind: str = "value"

    @property
    def contents(self) -> str:
        """Unit of the number, for people."""
        return self.unit

    @property
    def channels(self) -> int:
        """Output channels of the network for this task."""
        return 1


@dataclass(frozen=True)
class ClassTask:
    """A classification of a whole image.

    Args:
        name: task name.
        classes: names of the classes; the reference holds the class number.
    """

    name: str = "gender"
    classes: tuple[str, ...] = ("male", "female")
    kind: str = "class"

    @property
    def contents(self) -> str:
        """Names of the classes, for people."""
        return ", ".join(self.classes)

    @property
    def channels(self) -> int:
        """Output channels of the network for this task: one for each class."""
        return len(self.classes)


# What fills a volume, and what describes a whole image.
VolumeTask = ImageTask | LabelTask
Task = ImageTask | LabelTask | ValueTask | ClassTask
_KINDS: dict[str, type[Task]] = {"image": ImageTask, "labels": LabelTask, "value": ValueTask, "class": ClassTask}


@dataclass(frozen=True)
class ModelSpec:
    """Everything about a model apart from its weights.

    Args:
        tasks: the tasks, in the order of the network's output channels.
        spacing_mm: voxel size of the grid that the network works on, along R, A, S; two numbers for pictures.
        patch_size: sliding-window size in voxels, along R, A, S; two numbers for pictures.
        network: class name in ``sfg_med.networks`` and its keyword arguments.
        input_name: file name of the input image (``<case>/mr.nii.gz``).
    """

    tasks: tuple[Task, ...] = (ImageTask(), LabelTask())
    spacing_mm: tuple[float, ...] = (3.0, 3.0, 3.0)
    patch_size: tuple[int, ...] = (96, 96, 64)
    network: Mapping[str, Any] = field(default_factory=dict)
    input_name: str = "mr"

    @property
    def channels(self) -> dict[str, int]:
        """Task name to number of output channels: the network's ``tasks`` argument."""
        return {task.name: task.channels for task in self.tasks}

    @property
    def image_tasks(self) -> tuple[ImageTask, ...]:
        """The synthesised images."""
        return tuple(t for t in self.tasks if isinstance(t, ImageTask))

    @property
    def label_tasks(self) -> tuple[LabelTask, ...]:
        """The segmentations."""
        return tuple(t for t in self.tasks if isinstance(t, LabelTask))

    @property
    def volume_tasks(self) -> tuple[VolumeTask, ...]:
        """Images and segmentations: what is predicted for every voxel."""
        return tuple(t for t in self.tasks if isinstance(t, ImageTask | LabelTask))

    @property
    def value_tasks(self) -> tuple[ValueTask, ...]:
        """The regressions of one number."""
        return tuple(t for t in self.tasks if isinstance(t, ValueTask))

    @property
    def class_tasks(self) -> tuple[ClassTask, ...]:
        """The classifications."""
        return tuple(t for t in self.tasks if isinstance(t, ClassTask))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "model specification") -> ModelSpec:
        """Read what :meth:`to_dict` wrote (or the ``spec`` section of a config).

        Raises:
            SfgMedError: for an unknown key or task kind, and for what :func:`sfg_med.spec_check.check_spec` refuses.
        """
        try:
            values = dict(data)
            values["tasks"] = tuple(_task(t) for t in values["tasks"])
            for key in ("spacing_mm", "patch_size"):
                values[key] = tuple(values[key])
                if len(values[key]) not in (2, 3):
                    raise ValueError(f"{key} needs two or three numbers, got {values[key]}")
            spec = cls(**values)
            check_spec(spec)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            remedy = "write it as in configs/train.yaml"
            raise SfgMedError(where, "a model specification", repr(error), remedy) from error
        return spec


def _task(data: Mapping[str, Any]) -> Task:
    values = dict(data)
    kind = _KINDS[values.get("kind", "image")]
    if "classes" in values:
        values["classes"] = tuple(map(str, values["classes"]))
    if "value_range" in values:
        low, high = values["value_range"]
        values["value_range"] = (float(low), float(high))
    return kind(**values)


def make_spec(tasks: Sequence[Mapping[str, Any]], **values: Any) -> ModelSpec:
    """Build a :class:`ModelSpec` from plain config values."""
    return ModelSpec.from_dict({"tasks": tasks, **values}, where="config")
