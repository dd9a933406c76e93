# SPDX-License-Identifier: Apache-2.0
"""What a volume's passes say, in the grid of the input and in the units of the tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfg_med.errors import SfgMedError
from sfg_med.inference.native_grid import NativeGrid
from sfg_med.inference.passes import Passes
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

Array = NDArray[Any]


@dataclass
class Prediction:
    """Results of one volume, each (X, Y, Z) in its grid.

    Args:
        images: image task to float32 values in its unit, inside its value range.
        labels: label task to label values as in files.
        std: image task to float32 standard deviation over the passes in its unit; empty for one pass.
        entropy: label task to float32 entropy in nats; empty for one pass.
    """

    images: dict[str, Array] = field(default_factory=dict)
    labels: dict[str, Array] = field(default_factory=dict)
    std: dict[str, Array] = field(default_factory=dict)
    entropy: dict[str, Array] = field(default_factory=dict)


def restore(passes: Passes, spec: ModelSpec, work_affine: Array, grid: NativeGrid) -> Prediction:
    """Bring every task back to the input's grid.

    Args:
        passes: average of the passes on the network's grid; taken apart on the way to save memory.
        spec: the model's tasks.
        work_affine: (4, 4) affine of the network's grid.
        grid: the input's grid.

    Raises:
        SfgMedError: if the network returned NaN or Inf.
    """
    result = Prediction()
    for task in spec.volume_tasks:
        if not bool(torch.isfinite(passes.mean[task.name]).all()):
            found = "NaN or Inf"
            raise SfgMedError(f"output {task.name}", "finite numbers from the network", found, "use --precision fp32")
        if isinstance(task, ImageTask):
            _restore_image(task, passes, work_affine, grid, result)
        else:
            _restore_labels(task, passes, work_affine, grid, result)
    return result


def _restore_image(task: ImageTask, passes: Passes, work_affine: Array, grid: NativeGrid, result: Prediction) -> None:
    def in_unit(values: torch.Tensor) -> torch.Tensor:
        return (values[0] * task.scale + task.offset).clamp(*task.value_range)

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values[0] * abs(task.scale)

    mean, std = passes.mean.pop(task.name), passes.std.pop(task.name)
    result.images[task.name] = grid.restore(mean, work_affine, in_unit, fill=task.fill, dtype=np.float32)
    if passes.count > 1:
        result.std[task.name] = grid.restore(std, work_affine, spread, fill=0.0, dtype=np.float32)


def _restore_labels(task: LabelTask, passes: Passes, work_affine: Array, grid: NativeGrid, result: Prediction) -> None:
    values = [0, *task.labels.values()]
    dtype = np.uint8 if max(values) < 256 else np.uint16
    scores = passes.votes.get(task.name, passes.mean[task.name])
    table = torch.tensor(values, dtype=torch.int32, device=scores.device)

    def best(maps: torch.Tensor) -> torch.Tensor:
        return table[maps.argmax(dim=0)]

    if passes.count > 1:
        maps = passes.entropy(task.name)
        result.entropy[task.name] = grid.restore(maps, work_affine, lambda m: m[0], fill=0.0, dtype=np.float32)
    result.labels[task.name] = grid.restore(scores, work_affine, best, fill=0.0, dtype=dtype)
