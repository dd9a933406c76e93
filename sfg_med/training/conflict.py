# SPDX-License-Identifier: Apache-2.0
"""Training steps that reconcile the tasks' gradients where they disagree, by the aggregations of TorchJD.

Two tasks conflict on a parameter set where the inner product of their gradients is negative: a step along their sum may
then make one of them worse. PCGrad (Yu et al., NeurIPS 2020) projects each gradient onto the normal plane of those it
conflicts with; UPGrad (Quinton and Rey, 2024) onto the cone in which no task gets worse. Without a conflict both are
the plain sum.

Only what several tasks train can be in conflict. Kernels of one task's group have exact zeros for the others, so the
elements that one task alone reaches are taken out of the inner products and get that task's gradient as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils import CommonKeys
from scipy.optimize import nnls
from torch import Tensor

from sfg_med.errors import SfgMedError
from sfg_med.losses.joint import PENALTY, JointLoss

AGGREGATIONS = ("sum", "upgrad", "pcgrad")
# A Gramian, (T, T), to the weights of the tasks' gradients, (T,).
GramianWeighting = Callable[[Tensor], Tensor]
Update = Callable[[SupervisedTrainer, Any], dict[str, Any]]


def conflict_update(aggregation: str) -> Update | None:
    """What a MONAI trainer takes as ``iteration_update``; ``None``, its own step, for ``"sum"``.

    Args:
        aggregation: one of :data:`AGGREGATIONS`.

    Raises:
        SfgMedError: for an unknown name, without TorchJD, or in several processes.
    """
    if aggregation not in AGGREGATIONS:
        expected = f"one of {', '.join(AGGREGATIONS)}"
        raise SfgMedError("gradient_aggregation", expected, repr(aggregation), "choose one of them")
    if aggregation == "sum":
        return None
    if idist.get_world_size() > 1:
        found = f"{idist.get_world_size()} processes"
        raise SfgMedError("gradient_aggregation", f"one process for {aggregation}", found, "use sum, or one process")
    return partial(_iteration, gramian_weighting(aggregation))


def gramian_weighting(aggregation: str) -> GramianWeighting:
    """The rule of TorchJD behind ``"upgrad"`` or ``"pcgrad"``; both sum over the tasks, as the loss does.

    Raises:
        SfgMedError: if TorchJD is not installed.
    """
    try:
        from torchjd.aggregation import PCGradWeighting, UPGradWeighting
    except ImportError as error:
        expected = f"the package torchjd for {aggregation}"
        remedy = "pip install 'sfg-med[conflict]', or use gradient_aggregation=sum"
        raise SfgMedError("gradient_aggregation", expected, "it is not installed", remedy) from error
    if aggregation == "pcgrad":
        return PCGradWeighting()
    # Its own projector needs quadprog, whose licence is the GPL.
    projector: Any = project_onto_dual_cone
    return lambda gramian: UPGradWeighting(torch.ones_like(gramian[0]), projector)(gramian)


def project_onto_dual_cone(weights: Tensor, gramian: Tensor) -> Tensor:
    """Weights of the projections of weighted sums of gradients onto the cone where no task gets worse.

    For each row u it solves: minimise v' G v with v >= u, which is non-negative least squares in v - u.

    Args:
        weights: ``(N, T)``.
        gramian: ``(T, T)``, scaled and regularised here as in TorchJD.

    Returns:
        ``(N, T)``.
    """
    matrix = gramian.detach().cpu().double().numpy()
    size = np.trace(matrix)
    scaled = matrix / size if size > 1e-12 else np.zeros_like(matrix)
    root = np.linalg.cholesky(scaled + 1e-4 * np.eye(len(matrix))).T
    rows = [u + nnls(root, -root @ u)[0] for u in weights.detach().cpu().double().numpy()]
    return torch.as_tensor(np.stack(rows)).to(gramian)


def aggregate_gradients(losses: Sequence[Tensor], parameters: Sequence[Tensor], weighting: GramianWeighting) -> None:
    """Add the aggregated gradient of several losses to the parameters' ``grad``.

    Args:
        losses: scalars, one for each task.
        parameters: leaves.
        weighting: from :func:`gramian_weighting`.
    """
    from torchjd.autojac import jac

    jacobians = jac(losses, parameters, parallel_chunk_size=1)  # one task at a time: less memory, no vmap
    shared = [(rows != 0).sum(0) > 1 for rows in jacobians]
    pairs = [(rows * common).reshape(len(losses), -1) for rows, common in zip(jacobians, shared, strict=True)]
    gramian = torch.stack([(rows @ rows.T).double() for rows in pairs]).sum(0)
    weights = weighting(gramian)
    for parameter, rows, common in zip(parameters, jacobians, shared, strict=True):
        together = torch.tensordot(weights.to(rows), rows, dims=1)
        gradient = torch.where(common, together, rows.sum(0))
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _iteration(weighting: GramianWeighting, engine: SupervisedTrainer, batchdata: Any) -> dict[str, Any]:
    """MONAI's step of a :class:`SupervisedTrainer` with another backward pass."""
    loss_function: JointLoss = engine.loss_function  # type: ignore[assignment]
    inputs, targets = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
    output: dict[str, Any] = {CommonKeys.IMAGE: inputs, CommonKeys.LABEL: targets}
    engine.state.output = output
    engine.network.train()
    engine.optimizer.zero_grad(set_to_none=True)

    output[CommonKeys.PRED] = engine.inferer(inputs, engine.network)
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    parts = loss_function.parts(output[CommonKeys.PRED], targets)
    output[CommonKeys.LOSS] = torch.stack(list(parts.values())).sum().detach()
    engine.fire_event(IterationEvents.LOSS_COMPLETED)

    penalty = parts.pop(PENALTY, None)
    if penalty is not None:  # no task's, so it takes no part
        penalty.backward(retain_graph=True)
    parameters = [p for group in engine.optimizer.param_groups for p in group["params"] if p.requires_grad]
    aggregate_gradients(list(parts.values()), parameters, weighting)
    engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
    engine.optimizer.step()
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return output
