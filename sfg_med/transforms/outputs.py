# SPDX-License-Identifier: Apache-2.0
"""From the network's one output tensor to the images and label maps that are written."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import SaveImage, Transform
from torch import Tensor

from sfg_med.spec import ImageTask, LabelTask, ModelSpec, VolumeTask


def decode(output: Tensor, task: VolumeTask) -> Tensor:
    """A task's channels to file values.

    Args:
        output: ``(C, *spatial)``: a normalised image, or class probabilities (or logits).
        task: the task.

    Returns:
        ``(1, *spatial)``: the image in the task's unit, clipped to its range, or the label values.
    """
    if isinstance(task, ImageTask):
        return (output * task.scale + task.offset).clamp(*task.value_range)
    values = torch.tensor([0, *task.labels.values()], dtype=torch.uint8, device=output.device)
    return values[torch.as_tensor(output).argmax(0, keepdim=True)]


class SplitTasksd(Transform):
    """Split the network's output into one entry for each task; label tasks become probabilities.

    Log variances, which lie behind the tasks' channels, are left out.

    Args:
        keys: key of the output, ``(C, *spatial)``.
        spec: the tasks.
    """

    def __init__(self, keys: str, spec: ModelSpec) -> None:
        self.key, self.spec = keys, spec

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the tasks' entries and remove the output."""
        result = dict(data)
        output = result.pop(self.key)
        counts = list(self.spec.channels.values())
        for task, part in zip(self.spec.tasks, output[: sum(counts)].split(counts), strict=True):
            result[task.name] = part.softmax(0) if isinstance(task, LabelTask) else part
        return result


class DecodeTasksd(Transform):
    """Turn every task's entry into file values, see :func:`decode`."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Decode the tasks' entries."""
        result = dict(data)
        for task in self.spec.volume_tasks:
            result[task.name] = decode(result[task.name], task)
        return result


class SaveTasksd(Transform):
    """Write every task's entry as NIfTI: ``<output_dir>/<case>/<input>_<task>.nii.gz``.

    Args:
        spec: the tasks.
        output_dir: where to.
        data_root_dir: the folder of the inputs, whose sub-folders are mirrored.
    """

    def __init__(self, spec: ModelSpec, output_dir: str, data_root_dir: str) -> None:
        self.integer = {t.name for t in spec.image_tasks if not t.dtype.startswith("float")}
        self.savers = {}
        for task in spec.tasks:
            dtype = task.dtype if isinstance(task, ImageTask) else "uint8"
            self.savers[task.name] = SaveImage(
                output_dir=output_dir,
                output_postfix=task.name,
                output_ext=".nii.gz",
                output_dtype=dtype,
                data_root_dir=data_root_dir,
                resample=False,
                separate_folder=False,
                print_log=False,
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> Mapping[Hashable, Any]:
        """Write the tasks' entries."""
        for name, saver in self.savers.items():
            saver(data[name].round() if name in self.integer else data[name])
        return data
