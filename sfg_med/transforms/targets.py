# SPDX-License-Identifier: Apache-2.0
"""From what files hold to what the network is trained on, also where a target is missing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform
from torch import Tensor

from sfg_med.data.cases import TISSUE
from sfg_med.spec import ANNOTATED, ImageTask, LabelTask, ModelSpec
from sfg_med.transforms.read import LABELS


class EncodeTargetsd(Transform):
    """Normalise synthesised images, number the classes, and fill in what a case lacks.

    Afterwards every case has every task's tensor, so that complete and incomplete cases share a batch, and
    ``<task>_annotated``: ``(C,)`` with 1 for every channel that this case can teach: the image itself, or the label's
    class. A case without the target has only zeros there.

    Args:
        spec: the model's tasks.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Encode one case; needs the input image as the grid's reference."""
        result = dict(data)
        reference = result[self.spec.input_name]
        labels = result.pop(LABELS, {})
        result.setdefault("mask", torch.ones_like(reference, dtype=torch.uint8))
        result["mask"] = (result["mask"] > 0).to(torch.uint8)
        if TISSUE in result:
            result[TISSUE] = result[TISSUE].to(torch.uint8)
        for task in self.spec.volume_tasks:
            annotated = torch.zeros(task.channels)
            if task.name not in result:
                result[task.name] = torch.zeros_like(reference)
            elif isinstance(task, ImageTask):
                result[task.name] = encode_image(result[task.name], task)
                annotated[:] = 1
            else:
                values = labels.get(task.name, task.labels)
                result[task.name] = encode_labels(result[task.name], task, values)
                annotated[0] = 1
                for channel, name in enumerate(task.labels, start=1):
                    annotated[channel] = float(name in values)
            result[f"{task.name}{ANNOTATED}"] = annotated
        return result


def encode_image(image: Tensor, task: ImageTask) -> Tensor:
    """Clip to the task's range and normalise: ``(value - offset) / scale``, or by the image's mean and deviation."""
    values = image.float().clamp(*task.value_range)
    if task.normalize == "zscore":
        inside = values[values != task.fill]
        return (values - inside.mean()) / inside.std().clamp_min(1e-6)
    return (values - task.offset) / task.scale


def encode_labels(image: Tensor, task: LabelTask, values: Mapping[str, int]) -> Tensor:
    """File values to class numbers: 0 background, i for the i-th label of the task."""
    result = torch.zeros_like(image, dtype=torch.uint8)
    for channel, name in enumerate(task.labels, start=1):
        if name in values:
            result[image == values[name]] = channel
    return result
