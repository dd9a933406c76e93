# SPDX-License-Identifier: Apache-2.0
"""The training objective: the tasks' losses and the penalties of the groups."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sfg_med.losses.shares import case_shares, mean_over_processes
from sfg_med.losses.tasks import ImageLoss, TaskLoss, ValueLoss, task_loss
from sfg_med.losses.weighting import LIKELIHOOD, make_weighting
from sfg_med.networks import MultiTaskNetwork
from sfg_med.networks.multitask import LOG_VARIANCE
from sfg_med.sharing import VariationalObjective
from sfg_med.spec import ModelSpec

PENALTY = "penalty"


class JointLoss(nn.Module):
    """Weighted sum of task losses plus the variational penalties.

    Its parameters are those of the weighting; an optimiser and a checkpoint have to know them.

    Args:
        spec: the tasks.
        network: the network, whose kernels are penalised and whose output is split.
        weights: task name to weight; 1 by default (the paper). Learned weightings do without.
        image_loss: loss of synthesised images.
        value_loss: loss of regressed numbers.
        objective: penalties; ``None`` for none.
        weighting: ``"equal"``, ``"homoscedastic"`` or ``"heteroscedastic"``, see :mod:`sfg_med.losses.weighting`.
        variance_form: of learned weightings, ``"likelihood"`` or ``"miccai2018"``.

    Raises:
        ValueError: for an unknown weighting, or one that does not fit the losses or the network.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: MultiTaskNetwork,
        weights: Mapping[str, float] | None = None,
        image_loss: ImageLoss | None = None,
        value_loss: ValueLoss | None = None,
        objective: VariationalObjective | None = None,
        weighting: str = "equal",
        variance_form: str = LIKELIHOOD,
    ) -> None:
        super().__init__()
        chosen: dict[str, TaskLoss | None] = {"image": image_loss, "value": value_loss}
        self.terms = {task.name: task_loss(task, chosen) for task in spec.tasks}
        self.weighting = make_weighting(weighting, tuple(self.terms), weights, variance_form)
        self.weighting.check(self.terms)
        if self.weighting.needs_variance and f"{spec.tasks[0].name}{LOG_VARIANCE}" not in network.outputs:
            raise ValueError(f"weighting {weighting} needs a network with variance: true")
        self.network = [network]  # in a list: the network is not a part of the loss
        self.objective = objective
        self.last: dict[str, float] = {}
        self.to(next(network.parameters()).device)

    def parts(
        self, predicted: Tensor, targets: Mapping[str, Tensor], whole: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The terms whose sum is the loss: one for each task, weighted, and ``penalty``.

        In several processes, and where the batch is only a part of what a step is made of, the mean of the parts'
        gradients is the gradient of one big batch (:func:`sfg_med.losses.shares.case_shares`).

        :attr:`last` keeps for logs each task's loss without weights (``loss_<task>``), the penalty and, of learned
        weightings, each task's mean log variance (``log_variance_<task>``): means over all processes.

        Args:
            predicted: ``(B, C, *spatial)``, the network's output.
            targets: every task's tensor, ``<task>_annotated`` and, of volumes, ``mask``, batched.
            whole: the targets of all that this process adds to the step, where the batch is a part of it.
        """
        outputs = self.network[0].split(predicted.float())
        terms = {name: self.weighting(name, loss, outputs, targets) for name, loss in self.terms.items()}
        shares = case_shares(list(terms), targets, whole)
        parts = {name: term.value * shares[name] for name, term in terms.items()}
        shown = {f"{kind}_{name}": v * shares[name] for name, term in terms.items() for kind, v in term.shown.items()}
        if self.objective is not None:
            parts[PENALTY] = shown[f"loss_{PENALTY}"] = self.objective(self.network[0])
        values = mean_over_processes(torch.stack([value.detach() for value in shown.values()]))
        self.last = dict(zip(shown, values.tolist(), strict=True))
        return parts

    def forward(self, predicted: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss, the sum of :meth:`parts`."""
        return torch.stack(list(self.parts(predicted, targets).values())).sum()
