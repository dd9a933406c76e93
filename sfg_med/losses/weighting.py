# SPDX-License-Identifier: Apache-2.0
"""How the losses of several tasks become terms of one sum: fixed weights, or variances that are learned.

A learned variance turns a task's errors into the negative log-likelihood of an observation with that variance, so that
a task (homoscedastic: Kendall, Gal and Cipolla, CVPR 2018) or a voxel of a task (heteroscedastic: Kendall and Gal,
NeurIPS 2017; Bragman et al., MICCAI 2018) that is noisy weighs less. With s the log variance and e the error:

==============  ==========================  =================================
likelihood      error e                     term
==============  ==========================  =================================
Gaussian        squared difference          exp(-s) e / 2 + s / 2
Laplace         absolute difference         sqrt(2) exp(-s / 2) e + s / 2
categorical     cross-entropy               exp(-s) e + s / 2 (approximation)
==============  ==========================  =================================

exp(s) is the variance in all of them; a Laplace distribution of scale b has the variance 2 b^2. The Gaussian form is
also that of the authors' later code. ``"miccai2018"`` is what their paper prints, e / (2 exp(s)) + s for squared
differences and cross-entropy alike: its minimum lies at half the mean square, so that its variances are half of what
they should be. Both are given in methods.md 2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sfg_med.losses.tasks import CATEGORICAL, LAPLACE, TaskLoss
from sfg_med.networks.multitask import LOG_VARIANCE
from sfg_med.spec import ANNOTATED

LIKELIHOOD, MICCAI2018 = "likelihood", "miccai2018"
FORMS = (LIKELIHOOD, MICCAI2018)
# Log variances stay within +- this: a CT in thousands of HU has standard deviations of 6.7 HU and more.
LARGEST = 10.0


def bounded_log_variance(free: Tensor) -> Tensor:
    """Log variance from a free number: about the number itself near 0, never beyond :data:`LARGEST`.

    Unlike a clamp it has a gradient everywhere. Predictions pass through it as training does.
    """
    return LARGEST * torch.tanh(free / LARGEST)


def scaled_errors(errors: Tensor, log_variance: Tensor, family: str, form: str = LIKELIHOOD) -> Tensor:
    """Negative log-likelihood of errors up to a constant, see the module's table.

    Args:
        errors: of any shape.
        log_variance: s, of a shape that broadcasts with the errors.
        family: ``"gaussian"``, ``"laplace"`` or ``"categorical"``.
        form: ``"likelihood"`` or ``"miccai2018"``.
    """
    if form == MICCAI2018:
        return 0.5 * torch.exp(-log_variance) * errors + log_variance
    if family == LAPLACE:
        return math.sqrt(2) * torch.exp(-0.5 * log_variance) * errors + 0.5 * log_variance
    weight = 1.0 if family == CATEGORICAL else 0.5
    return weight * torch.exp(-log_variance) * errors + 0.5 * log_variance


@dataclass(frozen=True)
class Term:
    """A task's part of the total.

    Args:
        value: scalar that enters the sum.
        shown: name to scalar for logs: ``loss`` is the task's loss without any weight, in all weightings.
    """

    value: Tensor
    shown: dict[str, Tensor]


class Weighting(nn.Module, ABC):
    """Makes a task's term from its loss."""

    needs_variance = False

    def check(self, losses: Mapping[str, TaskLoss]) -> None:
        """Refuse losses that the weighting cannot use.

        Raises:
            ValueError: naming the loss.
        """

    @abstractmethod
    def forward(self, name: str, loss: TaskLoss, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Term:
        """The term of task ``name``.

        Args:
            name: the task.
            loss: its loss.
            outputs: the network's outputs by name, see :meth:`sfg_med.networks.MultiTaskNetwork.split`.
            targets: every task's tensor, ``<task>_annotated`` and, of volumes, ``mask``, batched.
        """


class FixedWeights(Weighting):
    """Each task's loss times a number.

    Args:
        weights: task name to weight; 1 by default (the paper).
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.weights = {name: float(weight) for name, weight in (weights or {}).items()}

    def forward(self, name: str, loss: TaskLoss, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Term:
        """The loss and its weight."""
        value = loss(outputs[name], targets[name], targets[f"{name}{ANNOTATED}"], targets.get("mask"))
        return Term(self.weights.get(name, 1.0) * value, {"loss": value})


class LearnedVariance(Weighting):
    """Base of the weightings whose terms are likelihoods; what stands beside a likelihood (Dice) is not scaled.

    Args:
        form: see :data:`FORMS`.
    """

    def __init__(self, form: str = LIKELIHOOD) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"variance_form must be one of {FORMS}, got {form!r}")
        self.form = form

    def check(self, losses: Mapping[str, TaskLoss]) -> None:
        """The paper's form has no Laplace likelihood."""
        absolute = [name for name, loss in losses.items() if loss.family == LAPLACE]
        if self.form == MICCAI2018 and absolute:
            raise ValueError(f"variance_form miccai2018 needs squared errors (mse) for task {absolute[0]}, not l1")

    @abstractmethod
    def log_variance(self, name: str, outputs: Mapping[str, Tensor]) -> Tensor:
        """Bounded log variance of a task: a scalar, or ``(B, 1, *spatial)``."""

    def forward(self, name: str, loss: TaskLoss, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Term:
        """The likelihood's term, and the loss as it is without weights."""
        annotated, mask = targets[f"{name}{ANNOTATED}"], targets.get("mask")
        errors, beside = loss.parts(outputs[name], targets[name], annotated)
        log_variance = self.log_variance(name, outputs)
        scaled = scaled_errors(errors, log_variance, loss.family, self.form)
        value = loss.average(scaled, annotated, mask) + beside
        with torch.no_grad():
            plain = loss.total(errors, beside, annotated, mask)
            spread = loss.average(log_variance.expand_as(errors), annotated, mask)
        return Term(value, {"loss": plain, "log_variance": spread})


class Homoscedastic(LearnedVariance):
    """One learned variance for each task (Kendall, Gal and Cipolla, CVPR 2018), 1 at the start.

    Args:
        tasks: task names.
        form: see :data:`FORMS`.
    """

    def __init__(self, tasks: tuple[str, ...], form: str = LIKELIHOOD) -> None:
        super().__init__(form)
        self.free = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in tasks})

    def log_variance(self, name: str, outputs: Mapping[str, Tensor]) -> Tensor:
        """Scalar."""
        return bounded_log_variance(self.free[name])


class Heteroscedastic(LearnedVariance):
    """A variance for each voxel (or case), read from the network's own channels (Bragman et al., MICCAI 2018)."""

    needs_variance = True

    def log_variance(self, name: str, outputs: Mapping[str, Tensor]) -> Tensor:
        """``(B, 1, *spatial)``."""
        return bounded_log_variance(outputs[f"{name}{LOG_VARIANCE}"])


WEIGHTINGS = ("equal", "homoscedastic", "heteroscedastic")


def make_weighting(
    name: str, tasks: tuple[str, ...], weights: Mapping[str, float] | None = None, form: str = LIKELIHOOD
) -> Weighting:
    """The weighting of a config.

    Args:
        name: ``"equal"`` (fixed weights), ``"homoscedastic"`` or ``"heteroscedastic"``.
        tasks: task names.
        weights: of ``"equal"``; learned variances take their place in the others.
        form: of the learned variances.

    Raises:
        ValueError: for an unknown name or form.
    """
    if name == "equal":
        return FixedWeights(weights)
    if name == "homoscedastic":
        return Homoscedastic(tasks, form)
    if name == "heteroscedastic":
        return Heteroscedastic(form)
    raise ValueError(f"weighting must be one of {WEIGHTINGS}, got {name!r}")
