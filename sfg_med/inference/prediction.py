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
        std: image task to float32 standard deviation in its unit, over the passes and within them; empty for one pass
            of a network that predicts no variance.
        entropy: label task to float32 entropy in nats; empty for one pass.
        parts: name to float32 map: ``<image task>_std_parameter`` and ``_intrinsic`` of several passes of networks that
            predict variances, whose squares add up to that of ``std``; ``<label task>_entropy_parameter`` and
            ``_intrinsic``, which add up to ``entropy``, if asked for.
        probabilities: label task to (C, X, Y, Z) float32 mean probabilities, background first, if asked for.
    """

    images: dict[str, Array] = field(default_factory=dict)
    labels: dict[str, Array] = field(default_factory=dict)
    std: dict[str, Array] = field(default_factory=dict)
    entropy: dict[str, Array] = field(default_factory=dict)
    parts: dict[str, Array] = field(default_factory=dict)
    probabilities: dict[str, Array] = field(default_factory=dict)


def restore(
    passes: Passes, spec: ModelSpec, work_affine: Array, grid: NativeGrid, *, details: bool = False
) -> Prediction:
    """Bring every task back to the input's grid.

    Args:
        passes: average of the passes on the network's grid; taken apart on the way to save memory.
        spec: the model's tasks.
        work_affine: (4, 4) affine of the network's grid.
        grid: the input's grid.
        details: also give probabilities, and the predicted standard deviation of a single pass.

    Raises:
        SfgMedError: if the network returned NaN or Inf.
    """
    result = Prediction()
    for task in spec.volume_tasks:
        if not bool(torch.isfinite(passes.mean[task.name]).all()):
            found = "NaN or Inf"
            raise SfgMedError(f"output {task.name}", "finite numbers from the network", found, "use --precision fp32")
        restorer = _Restorer(passes, work_affine, grid, result, details)
        if isinstance(task, ImageTask):
            restorer.image(task)
        else:
            restorer.labels(task)
    return result


@dataclass(frozen=True)
class _Restorer:
    passes: Passes
    work_affine: Array
    grid: NativeGrid
    result: Prediction
    details: bool

    def image(self, task: ImageTask) -> None:
        def in_unit(values: torch.Tensor) -> torch.Tensor:
            return (values[0] * task.scale + task.offset).clamp(*task.value_range)

        mean, variance = self.passes.mean.pop(task.name), self.passes.variance.pop(task.name)
        intrinsic = self.passes.intrinsic.pop(task.name, None)
        several = self.passes.count > 1
        self.result.images[task.name] = self.grid.restore(
            mean, self.work_affine, in_unit, fill=task.fill, dtype=np.float32
        )
        if several and intrinsic is not None:
            self.result.parts[f"{task.name}_std_parameter"] = self._spread(variance, task)
            self.result.parts[f"{task.name}_std_intrinsic"] = self._spread(intrinsic, task)
        if several or (self.details and intrinsic is not None):
            total = variance if intrinsic is None else variance + intrinsic
            self.result.std[task.name] = self._spread(total, task)

    def labels(self, task: LabelTask) -> None:
        values = [0, *task.labels.values()]
        dtype = np.uint8 if max(values) < 256 else np.uint16
        mean = self.passes.mean[task.name]
        scores = self.passes.votes.get(task.name, mean)
        table = torch.tensor(values, dtype=torch.int32, device=scores.device)

        def best(maps: torch.Tensor) -> torch.Tensor:
            # argmax over the first axis would walk through memory in large steps
            highest, chosen = maps[0], torch.zeros_like(maps[0], dtype=table.dtype)
            for scores_of_class, value in zip(maps[1:], table[1:], strict=True):
                chosen = torch.where(scores_of_class > highest, value, chosen)
                highest = torch.maximum(highest, scores_of_class)
            return chosen

        if self.passes.count > 1:
            self._entropies(task.name)
        if self.details:
            maps = [self._map(mean[i : i + 1], fill=float(i == 0)) for i in range(len(mean))]
            self.result.probabilities[task.name] = np.stack(maps)
        self.result.labels[task.name] = self.grid.restore(scores, self.work_affine, best, fill=0.0, dtype=dtype)

    def _entropies(self, name: str) -> None:
        total = self.passes.entropy(name)
        intrinsic = self.passes.intrinsic.pop(name, None)
        self.result.entropy[name] = self._map(total)
        if intrinsic is not None:
            self.result.parts[f"{name}_entropy_parameter"] = self._map((total - intrinsic).clamp_min(0))
            self.result.parts[f"{name}_entropy_intrinsic"] = self._map(intrinsic)

    def _spread(self, variance: torch.Tensor, task: ImageTask) -> Array:
        # variances are interpolated, as it is they that add up
        def root(values: torch.Tensor) -> torch.Tensor:
            return values[0].clamp_min(0).sqrt() * abs(task.scale)

        return self.grid.restore(variance, self.work_affine, root, fill=0.0, dtype=np.float32)

    def _map(self, values: torch.Tensor, fill: float = 0.0) -> Array:
        return self.grid.restore(values, self.work_affine, lambda v: v[0], fill=fill, dtype=np.float32)
