# SPDX-License-Identifier: Apache-2.0
"""Losses of single tasks that leave out what a case was not annotated for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from monai.losses import DiceLoss
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sfg_med.spec import Task

IMAGE_LOSSES = ("l1", "mse", "rmse")


class ImageLoss(nn.Module):
    """Weighted regression loss of a synthesised image.

    Args:
        kind: ``"l1"``, ``"mse"`` or ``"rmse"`` (Bragman et al. 2019).
        outside_weight: weight of voxels outside the body mask, where the image is air; inside is 1.
    """

    def __init__(self, kind: str = "l1", outside_weight: float = 0.1) -> None:
        super().__init__()
        if kind not in IMAGE_LOSSES:
            raise ValueError(f"image loss must be one of {IMAGE_LOSSES}, got {kind!r}")
        self.kind, self.outside_weight = kind, outside_weight

    def forward(self, predicted: Tensor, target: Tensor, annotated: Tensor, mask: Tensor) -> Tensor:
        """Mean over the batch's annotated cases.

        Args:
            predicted: ``(B, 1, *spatial)``.
            target: ``(B, 1, *spatial)``.
            annotated: ``(B, 1)``, 1 where the case has this image.
            mask: ``(B, 1, *spatial)`` body mask.

        Returns:
            Scalar; 0 (with zero gradients) if no case of the batch has the image.
        """
        inside = mask.to(predicted)
        weight = inside + self.outside_weight * (1 - inside)
        difference = predicted - target.to(predicted)
        error = difference.abs() if self.kind == "l1" else difference.square()
        dims = tuple(range(1, predicted.dim()))
        per_case = (weight * error).sum(dims) / weight.sum(dims).clamp_min(1e-6)
        if self.kind == "rmse":
            per_case = (per_case + 1e-12).sqrt()
        return _mean(per_case, annotated[:, 0])


class LabelLoss(nn.Module):
    """Dice and cross-entropy (the nnU-Net form) for cases of which not every label was drawn.

    The probability of a label that was not drawn in a case is added to that case's background, which is all that
    its reference says there (the marginal loss of Shi et al., Medical Image Analysis 2021). With all labels drawn it is
    the ordinary Dice plus cross-entropy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dice = DiceLoss(include_background=False, reduction="none", smooth_nr=1e-5, smooth_dr=1e-5, batch=False)

    def forward(self, predicted: Tensor, target: Tensor, annotated: Tensor, mask: Tensor) -> Tensor:
        """Mean over the batch's annotated cases.

        Args:
            predicted: ``(B, C, *spatial)`` logits.
            target: ``(B, 1, *spatial)`` class numbers.
            annotated: ``(B, C)``, 1 for every class that was drawn in the case; background included.
            mask: unused.

        Returns:
            Scalar; 0 (with zero gradients) if no case of the batch has labels.
        """
        drawn = annotated.to(predicted)[(...,) + (None,) * (predicted.dim() - 2)]
        probabilities = predicted.softmax(1)
        background = probabilities[:, :1] + (probabilities * (1 - drawn)).sum(1, keepdim=True)
        marginal = torch.cat((background, (probabilities * drawn)[:, 1:]), dim=1)
        truth = one_hot(target.long(), predicted.shape[1])
        chosen = (marginal * truth).sum(1).clamp_min(1e-7)
        surprise = -chosen.log().flatten(1).mean(1)
        dice = self.dice(marginal, truth).flatten(1)
        classes = annotated[:, 1:].to(predicted)
        dice_case = (dice * classes).sum(1) / classes.sum(1).clamp_min(1)
        return _mean(surprise + dice_case, annotated[:, 0])


class ValueLoss(nn.Module):
    """Regression loss of one number for each case.

    Args:
        kind: ``"rmse"`` (root of the batch's mean square: Bragman et al. 2019), ``"mse"`` or ``"l1"``.
    """

    def __init__(self, kind: str = "rmse") -> None:
        super().__init__()
        if kind not in IMAGE_LOSSES:
            raise ValueError(f"value loss must be one of {IMAGE_LOSSES}, got {kind!r}")
        self.kind = kind

    def forward(self, predicted: Tensor, target: Tensor, annotated: Tensor, mask: Tensor | None = None) -> Tensor:
        """Loss over the batch's annotated cases.

        Args:
            predicted: ``(B, 1)``.
            target: ``(B, 1)``, normalised; anything where it is not annotated.
            annotated: ``(B, 1)``, 1 where the case has this number.
            mask: unused.

        Returns:
            Scalar; less than 1e-5 (with zero gradients) if no case of the batch has the number.
        """
        known = annotated[:, 0] > 0
        difference = torch.where(known, predicted[:, 0] - target[:, 0].to(predicted), 0)
        error = difference.abs() if self.kind == "l1" else difference.square()
        mean = _mean(error, annotated[:, 0])
        return (mean + 1e-12).sqrt() if self.kind == "rmse" else mean


class ClassLoss(nn.Module):
    """Cross entropy of one class for each case."""

    def forward(self, predicted: Tensor, target: Tensor, annotated: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean over the batch's annotated cases.

        Args:
            predicted: ``(B, C)`` logits.
            target: ``(B, 1)`` class numbers; any class where it is not annotated.
            annotated: ``(B, C)``, 1 where the case has a class; its first column decides.
            mask: unused.

        Returns:
            Scalar; 0 (with zero gradients) if no case of the batch has a class.
        """
        return _mean(cross_entropy(predicted, target[:, 0].long(), reduction="none"), annotated[:, 0])


LOSSES: dict[str, Callable[[], nn.Module]] = {
    "image": ImageLoss,
    "labels": LabelLoss,
    "value": ValueLoss,
    "class": ClassLoss,
}


def task_loss(task: Task, chosen: Mapping[str, nn.Module | None] | None = None) -> nn.Module:
    """The loss of a task, called with the task's output, its target, what is annotated, and the body mask or ``None``.

    Args:
        task: the task.
        chosen: task kind to loss, where another one than the kind's default is wanted.
    """
    return (chosen or {}).get(task.kind) or LOSSES[task.kind]()


def _mean(per_case: Tensor, annotated: Tensor) -> Tensor:
    weight = annotated.to(per_case)
    return (per_case * weight).sum() / weight.sum().clamp_min(1)
