# SPDX-License-Identifier: Apache-2.0
"""Losses of single tasks that leave out what a case was not annotated for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import ignite.distributed as idist
import torch
from monai.losses import DiceLoss
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sfg_med.losses.shares import mean_over_processes
from sfg_med.spec import Task

IMAGE_LOSSES = ("l1", "mse", "rmse")
# Whose negative logarithm an error is, up to its scale and a constant.
LAPLACE, GAUSSIAN, CATEGORICAL = "laplace", "gaussian", "categorical"


class TaskLoss(nn.Module, ABC):
    """Loss of one task: a mean of errors, and what stands beside them.

    The errors are those of a likelihood, whose variance a weighting of the tasks may learn
    (:mod:`sfg_med.losses.weighting`); what stands beside, such as Dice, is of no likelihood and stays as it is.
    """

    family: str

    @abstractmethod
    def parts(self, predicted: Tensor, target: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 1, *spatial)`` errors, and the scalar beside them: a mean over annotated cases, or 0.

        Args:
            predicted: ``(B, C, *spatial)``.
            target: ``(B, 1, *spatial)``.
            annotated: ``(B, C)``, 1 where the case has this channel's truth.
        """

    def average(self, errors: Tensor, annotated: Tensor, mask: Tensor | None) -> Tensor:
        """Mean over the elements of a case, then over the batch's annotated cases; 0 if there are none."""
        return _mean(self._of_cases(errors, mask), annotated[:, 0])

    def total(self, errors: Tensor, beside: Tensor, annotated: Tensor, mask: Tensor | None) -> Tensor:
        """The loss from its parts."""
        return self.average(errors, annotated, mask) + beside

    def forward(self, predicted: Tensor, target: Tensor, annotated: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scalar: mean over the batch's annotated cases; 0 (with zero gradients) if there are none.

        Args:
            predicted: ``(B, C, *spatial)``.
            target: ``(B, 1, *spatial)``; anything where it is not annotated.
            annotated: ``(B, C)``.
            mask: ``(B, 1, *spatial)`` body mask; images only.
        """
        return self.total(*self.parts(predicted, target, annotated), annotated, mask)

    def _of_cases(self, errors: Tensor, mask: Tensor | None) -> Tensor:
        """``(B,)`` mean of each case."""
        return errors.flatten(1).mean(1)


class ImageLoss(TaskLoss):
    """Weighted regression loss of a synthesised image.

    Args:
        kind: ``"l1"``, ``"mse"`` or ``"rmse"`` (the root of each case's mean square: Bragman et al. 2019).
        outside_weight: weight of voxels outside the body mask, where the image is air; inside is 1.
    """

    def __init__(self, kind: str = "l1", outside_weight: float = 0.1) -> None:
        super().__init__()
        self.kind, self.outside_weight = _checked("image loss", kind), outside_weight
        self.family = LAPLACE if kind == "l1" else GAUSSIAN

    def parts(self, predicted: Tensor, target: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 1, *spatial)`` absolute or squared differences, and nothing beside."""
        difference = predicted - target.to(predicted)
        return _error(difference, self.kind), predicted.new_zeros(())

    def total(self, errors: Tensor, beside: Tensor, annotated: Tensor, mask: Tensor | None) -> Tensor:
        """Mean over the batch's annotated cases of the mean error, or of its root."""
        per_case = self._of_cases(errors, mask)
        return _mean((per_case + 1e-12).sqrt() if self.kind == "rmse" else per_case, annotated[:, 0])

    def _of_cases(self, errors: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return super()._of_cases(errors, mask)
        inside = mask.to(errors)
        weight = inside + self.outside_weight * (1 - inside)
        dims = tuple(range(1, errors.dim()))
        return (weight * errors).sum(dims) / weight.sum(dims).clamp_min(1e-6)


class LabelLoss(TaskLoss):
    """Dice and cross-entropy (the nnU-Net form) for cases of which not every label was drawn.

    The probability of a label that was not drawn in a case is added to that case's background, which is all that
    its reference says there (the marginal loss of Shi et al., Medical Image Analysis 2021). With all labels drawn it is
    the ordinary Dice plus cross-entropy.
    """

    family = CATEGORICAL

    def __init__(self) -> None:
        super().__init__()
        self.dice = DiceLoss(include_background=False, reduction="none", smooth_nr=1e-5, smooth_dr=1e-5, batch=False)

    def parts(self, predicted: Tensor, target: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 1, *spatial)`` cross-entropy of each voxel, and beside it the mean Dice loss.

        Args:
            predicted: ``(B, C, *spatial)`` logits.
            target: ``(B, 1, *spatial)`` class numbers.
            annotated: ``(B, C)``, 1 for every class that was drawn in the case; background included.
        """
        drawn = annotated.to(predicted)[(...,) + (None,) * (predicted.dim() - 2)]
        probabilities = predicted.softmax(1)
        background = probabilities[:, :1] + (probabilities * (1 - drawn)).sum(1, keepdim=True)
        marginal = torch.cat((background, (probabilities * drawn)[:, 1:]), dim=1)
        truth = one_hot(target.long(), predicted.shape[1])
        surprise = -(marginal * truth).sum(1, keepdim=True).clamp_min(1e-7).log()
        dice = self.dice(marginal, truth).flatten(1)
        classes = annotated[:, 1:].to(predicted)
        dice_case = (dice * classes).sum(1) / classes.sum(1).clamp_min(1)
        return surprise, _mean(dice_case, annotated[:, 0])


class ValueLoss(TaskLoss):
    """Regression loss of one number for each case.

    Args:
        kind: ``"rmse"`` (root of the batch's mean square: Bragman et al. 2019), ``"mse"`` or ``"l1"``.
    """

    def __init__(self, kind: str = "rmse") -> None:
        super().__init__()
        self.kind = _checked("value loss", kind)
        self.family = LAPLACE if kind == "l1" else GAUSSIAN

    def parts(self, predicted: Tensor, target: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 1)`` absolute or squared differences, 0 where the number is not known, and nothing beside.

        Args:
            predicted: ``(B, 1)``.
            target: ``(B, 1)``, normalised; anything where it is not annotated.
            annotated: ``(B, 1)``, 1 where the case has this number.
        """
        difference = torch.where(annotated[:, :1] > 0, predicted - target.to(predicted), 0)
        return _error(difference, self.kind), predicted.new_zeros(())

    def total(self, errors: Tensor, beside: Tensor, annotated: Tensor, mask: Tensor | None) -> Tensor:
        """Mean error over the batch's annotated cases, or its root (then 1e-6 if there are none).

        The root is that of all processes' mean, which no mean of the processes' roots is.
        """
        mean = self.average(errors, annotated, mask)
        if self.kind != "rmse":
            return mean
        if idist.get_world_size() == 1:
            return (mean + 1e-12).sqrt()
        cases = annotated[:, 0].to(mean).sum()
        total, count = mean_over_processes(torch.stack((mean * cases, cases)))
        everywhere = total / count.clamp_min(1e-6)
        # the value of all processes, with the gradient of this one's cases
        return ((mean - mean.detach()) + everywhere + 1e-12).sqrt()


class ClassLoss(TaskLoss):
    """Cross entropy of one class for each case."""

    family = CATEGORICAL

    def parts(self, predicted: Tensor, target: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 1)`` cross-entropy of each case, and nothing beside.

        Args:
            predicted: ``(B, C)`` logits.
            target: ``(B, 1)`` class numbers; any class where it is not annotated.
            annotated: ``(B, C)``, 1 where the case has a class; its first column decides.
        """
        surprise = cross_entropy(predicted, target[:, 0].long(), reduction="none")
        return surprise[:, None], predicted.new_zeros(())


LOSSES: dict[str, Callable[[], TaskLoss]] = {
    "image": ImageLoss,
    "labels": LabelLoss,
    "value": ValueLoss,
    "class": ClassLoss,
}


def task_loss(task: Task, chosen: Mapping[str, TaskLoss | None] | None = None) -> TaskLoss:
    """The loss of a task, called with the task's output, its target, what is annotated, and the body mask or ``None``.

    Args:
        task: the task.
        chosen: task kind to loss, where another one than the kind's default is wanted.
    """
    return (chosen or {}).get(task.kind) or LOSSES[task.kind]()


def _checked(what: str, kind: str) -> str:
    if kind not in IMAGE_LOSSES:
        raise ValueError(f"{what} must be one of {IMAGE_LOSSES}, got {kind!r}")
    return kind


def _error(difference: Tensor, kind: str) -> Tensor:
    return difference.abs() if kind == "l1" else difference.square()


def _mean(per_case: Tensor, annotated: Tensor) -> Tensor:
    weight = annotated.to(per_case)
    return (per_case * weight).sum() / weight.sum().clamp_min(1)
