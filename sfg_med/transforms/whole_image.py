# SPDX-License-Identifier: Apache-2.0
"""Samples whose targets are numbers and classes of a whole picture, such as a face's age and gender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from torch import Tensor

from sfg_med.spec import ANNOTATED, ClassTask, ModelSpec, ValueTask


class EncodePictured(Transform):
    """Picture to normalised tensor, numbers and classes to targets.

    Every channel of every picture gets zero mean and unit variance of its own: the paper says channel-wise, and the
    framework that it was trained in whitens image by image. Unlike statistics of the training part this is the same for
    all parts and sizes of the data.

    Args:
        spec: names the input and the tasks.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def __call__(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Encode an item.

        Args:
            data: the picture ``(H, W, C)`` under the input's name, ``case``, and a number for every task (a value in
                the task's unit, or a class number); a task that is missing or ``None`` is not annotated.

        Returns:
            The picture ``(C, H, W)``, float32; for every task its target ``(1,)`` and ``<task>_annotated``
            ``(channels,)``; ``case``.
        """
        result: dict[str, Any] = {"case": data["case"]}
        result[self.spec.input_name] = whiten(data[self.spec.input_name])
        tasks: tuple[ValueTask | ClassTask, ...] = (*self.spec.value_tasks, *self.spec.class_tasks)
        for task in tasks:
            value = data.get(task.name)
            known = 0.0 if value is None else float(value)
            if isinstance(task, ValueTask):
                result[task.name] = torch.tensor([(known - task.offset) / task.scale])
            else:
                result[task.name] = torch.tensor([int(known)])
            result[f"{task.name}{ANNOTATED}"] = torch.full((task.channels,), float(value is not None))
        return result


def whiten(picture: Any) -> Tensor:
    """``(H, W, C)`` to ``(C, H, W)``, float32, every channel with zero mean and unit variance; a flat one is 0.

    MONAI's NormalizeIntensity gives the same numbers and takes ten times as long, a good part of a training step.
    """
    channels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(picture), -1, 0), np.float32))
    centred = channels - channels.mean((1, 2), keepdim=True)
    return centred / centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-6)


def decode_value(output: Tensor, task: ValueTask) -> Tensor:
    """A value task's channel, any shape, in the task's unit."""
    values = output * task.scale + task.offset
    return values if task.lowest is None else values.clamp_min(task.lowest)
