# SPDX-License-Identifier: Apache-2.0
"""Metrics of whole validation volumes and pictures, as MONAI handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Accuracy, Metric, MetricsLambda
from monai.handlers import MeanAbsoluteError, MeanDice
from monai.networks import one_hot
from monai.utils import CommonKeys
from torch import Tensor

from sfg_med.networks import MultiTaskNetwork
from sfg_med.spec import ANNOTATED, ClassTask, ImageTask, LabelTask, ModelSpec, ValueTask
from sfg_med.transforms import decode, decode_value

Pairs = tuple[list[Tensor], list[Tensor]]
Split = Callable[[Tensor], dict[str, Tensor]]
# One hundred units (HU, years) of mean error weigh as much in the score as a Dice or accuracy of 1. For faces this is
# the paper's choice of the iteration: the greatest accuracy - MAE of age / 100.
SCORE_UNITS = 100.0


def image_pairs(task: ImageTask, split: Split) -> Callable[[Mapping[str, Any]], Pairs]:
    """Predicted and true voxels inside the body mask, in the task's unit and range; NaN for cases without the image."""

    def transform(output: Mapping[str, Any]) -> Pairs:
        targets = output[CommonKeys.LABEL]
        predicted = split(output[CommonKeys.PRED])[task.name].float()
        pairs: Pairs = ([], [])
        for i in range(len(predicted)):
            inside = targets["mask"][i] > 0
            known = bool(targets[f"{task.name}{ANNOTATED}"][i].any())
            for values, result in zip((predicted[i], targets[task.name][i]), pairs, strict=True):
                chosen = decode(values[inside][None], task)
                result.append(chosen if known else values.new_full((1, 1), torch.nan))
        return pairs

    return transform


def label_pairs(task: LabelTask, split: Split) -> Callable[[Mapping[str, Any]], Pairs]:
    """One-hot prediction and reference; labels that were not drawn are NaN and leave the mean."""

    def transform(output: Mapping[str, Any]) -> Pairs:
        targets = output[CommonKeys.LABEL]
        logits = split(output[CommonKeys.PRED])[task.name]
        predicted = one_hot(logits.argmax(1, keepdim=True), task.channels)
        truth = one_hot(targets[task.name].long(), task.channels).to(predicted)
        drawn = targets[f"{task.name}{ANNOTATED}"].to(predicted)[(...,) + (None,) * (truth.dim() - 2)]
        # An empty reference makes MONAI's Dice NaN, which its mean ignores.
        return list(predicted), list(truth * drawn)

    return transform


def value_pairs(task: ValueTask, split: Split) -> Callable[[Mapping[str, Any]], Pairs]:
    """Predicted and true numbers in the task's unit; NaN for cases without one."""

    def transform(output: Mapping[str, Any]) -> Pairs:
        targets = output[CommonKeys.LABEL]
        predicted = split(output[CommonKeys.PRED])[task.name].float()
        known = targets[f"{task.name}{ANNOTATED}"] > 0
        both = (torch.where(known, decode_value(v, task), torch.nan) for v in (predicted, targets[task.name]))
        first, second = (list(values[:, None]) for values in both)
        return first, second

    return transform


class ClassAccuracy(Accuracy):
    """Part of the annotated cases whose likeliest class is the true one; NaN if none is annotated.

    Args:
        task: the task.
        split: splits the output.
    """

    def __init__(self, task: ClassTask, split: Split) -> None:
        def transform(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
            targets = output[CommonKeys.LABEL]
            known = targets[f"{task.name}{ANNOTATED}"][:, 0] > 0
            return split(output[CommonKeys.PRED])[task.name][known], targets[task.name][known, 0].long()

        super().__init__(output_transform=transform)

    def update(self, output: Any) -> None:
        """Count a batch."""
        if len(output[0]):
            super().update(output)

    def compute(self) -> float:
        """The accuracy so far, over all processes; each must call this, also one that has seen no annotated case."""
        try:
            return float(super().compute())
        except NotComputableError:
            return float("nan")


def validation_metrics(spec: ModelSpec, network: MultiTaskNetwork) -> dict[str, Metric]:
    """``score`` (the key metric) and ``mae_<unit or task>``, ``dice_<task>``, ``accuracy_<task>`` of every task.

    The score is the sum of Dice and accuracies minus the sum of mean errors / 100.

    Args:
        spec: the tasks.
        network: splits the output.
    """
    metrics: dict[str, Metric] = {}
    for task in spec.image_tasks:
        metrics[f"mae_{unit_name(task)}"] = MeanAbsoluteError(output_transform=image_pairs(task, network.split))
    for label in spec.label_tasks:
        metrics[f"dice_{label.name}"] = MeanDice(
            include_background=False, output_transform=label_pairs(label, network.split)
        )
    for value in spec.value_tasks:
        metrics[f"mae_{value.name}"] = MeanAbsoluteError(output_transform=value_pairs(value, network.split))
    for choice in spec.class_tasks:
        metrics[f"accuracy_{choice.name}"] = ClassAccuracy(choice, network.split)
    names = list(metrics)
    scales = [-1 / SCORE_UNITS if name.startswith("mae") else 1.0 for name in names]

    def score(*values: float) -> float:
        return sum(scale * float(value) for scale, value in zip(scales, values, strict=True))

    return {"score": MetricsLambda(score, *metrics.values()), **metrics}


def unit_name(task: ImageTask) -> str:
    """``hu`` for a CT, else the task's name: the suffix of its metrics' columns."""
    return "hu" if task.unit == "HU" else task.name
