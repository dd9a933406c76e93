# SPDX-License-Identifier: Apache-2.0
"""The training objective: the tasks' losses and the penalties of the groups."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sfg_med.losses.tasks import ImageLoss, ValueLoss, task_loss
from sfg_med.networks import MultiTaskNetwork
from sfg_med.sharing import VariationalObjective
from sfg_med.spec import ANNOTATED, ModelSpec


class JointLoss(nn.Module):
    """Weighted sum of task losses plus the variational penalties.

    Args:
        spec: the tasks.
        network: the network, whose kernels are penalised and whose output is split.
        weights: task name to weight; 1 by default (the paper).
        image_loss: loss of synthesised images.
        value_loss: loss of regressed numbers.
        objective: penalties; ``None`` for none.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: MultiTaskNetwork,
        weights: Mapping[str, float] | None = None,
        image_loss: ImageLoss | None = None,
        value_loss: ValueLoss | None = None,
        objective: VariationalObjective | None = None,
    ) -> None:
        super().__init__()
        chosen = {"image": image_loss, "value": value_loss}
        self.terms = {task.name: task_loss(task, chosen) for task in spec.tasks}
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in self.terms}
        self.network = [network]  # in a list: the network is not a part of the loss
        self.objective = objective
        self.last: dict[str, float] = {}

    def forward(self, predicted: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss; the parts are kept in :attr:`last` for logs.

        Args:
            predicted: ``(B, C, *spatial)``, the network's output.
            targets: every task's tensor, ``<task>_annotated`` and, of volumes, ``mask``, batched.
        """
        outputs = self.network[0].split(predicted.float())
        parts = {
            name: term(outputs[name], targets[name], targets[f"{name}{ANNOTATED}"], targets.get("mask"))
            for name, term in self.terms.items()
        }
        total = torch.stack([self.weights[name] * value for name, value in parts.items()]).sum()
        if self.objective is not None:
            parts["penalty"] = self.objective(self.network[0])
            total = total + parts["penalty"]
        self.last = {f"loss_{name}": float(value.detach()) for name, value in parts.items()}
        return total
