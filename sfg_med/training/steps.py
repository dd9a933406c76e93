# SPDX-License-Identifier: Apache-2.0
"""The training step: MONAI's own, or one that is made in several parts (processes, accumulated batches)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import ignite.distributed as idist
import torch
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils import CommonKeys
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from sfg_med.errors import SfgMedError
from sfg_med.losses import JointLoss
from sfg_med.losses.shares import mean_over_processes
from sfg_med.losses.tasks import ValueLoss
from sfg_med.training.conflict import conflict_update

Update = Callable[[SupervisedTrainer, Any], dict[str, Any]]


def training_step(aggregation: str = "sum", accumulation: int = 1) -> Update | None:
    """What a MONAI trainer takes as ``iteration_update``; ``None`` is its own step.

    Args:
        aggregation: how tasks' gradients are joined, see :func:`sfg_med.training.conflict.conflict_update`.
        accumulation: batches whose gradients make one step of the optimiser. The loader gives them as one big batch.

    Raises:
        SfgMedError: for more than one batch together with another aggregation than the sum.
    """
    update = conflict_update(aggregation)
    if update is not None:
        if accumulation > 1:
            found = f"{aggregation} with accumulation {accumulation}"
            raise SfgMedError("accumulation", "gradient_aggregation=sum", found, "change one of the two")
        return update
    if accumulation == 1 and idist.get_world_size() == 1:
        return None
    return partial(_step, accumulation)


def _step(accumulation: int, engine: SupervisedTrainer, batchdata: Mapping[str, Any]) -> dict[str, Any]:
    """One step of the optimiser; the loss in its output is that of all processes and batches."""
    loss_function: JointLoss = engine.loss_function  # type: ignore[assignment]
    _check(loss_function, accumulation)
    batches = split_batch(batchdata, accumulation)
    whole = None if accumulation == 1 else batchdata
    output: dict[str, Any] = {}
    engine.state.output = output
    engine.network.train()
    engine.optimizer.zero_grad(set_to_none=True)
    losses: list[Tensor] = []
    shown: dict[str, float] = {}
    for number, batch in enumerate(batches, 1):
        if number > 1:
            engine.fire_event(IterationEvents.INNER_ITERATION_STARTED)
        with _no_exchange(engine.network, until_now=number == accumulation):
            inputs, targets = engine.prepare_batch(batch, engine.state.device, engine.non_blocking, **engine.to_kwargs)
            output |= {CommonKeys.IMAGE: inputs, CommonKeys.LABEL: targets}
            output[CommonKeys.PRED] = engine.inferer(inputs, engine.network)
            parts = loss_function.parts(output[CommonKeys.PRED], targets, whole)
            loss = torch.stack(list(parts.values())).sum() / accumulation
            loss.backward()
        losses.append(loss.detach())
        for name, value in loss_function.last.items():
            shown[name] = shown.get(name, 0.0) + value / accumulation
    loss_function.last = shown
    output[CommonKeys.LOSS] = mean_over_processes(torch.stack(losses).sum())
    for event in (IterationEvents.FORWARD_COMPLETED, IterationEvents.LOSS_COMPLETED):
        engine.fire_event(event)
    engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
    engine.optimizer.step()
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return output


def split_batch(batch: Mapping[str, Any], parts: int) -> list[dict[str, Any]]:
    """A collated batch in equal parts, in order; tensors and lists are cut along their first axis."""
    if parts == 1:
        return [dict(batch)]
    size = len(next(v for v in batch.values() if torch.is_tensor(v))) // parts
    return [{k: v[i * size : (i + 1) * size] for k, v in batch.items()} for i in range(parts)]


def _no_exchange(network: Any, *, until_now: bool) -> AbstractContextManager[Any]:
    """Processes exchange gradients once a step, in its last part."""
    if until_now or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()


def _check(loss: JointLoss, accumulation: int) -> None:
    """The root of a mean cannot be put together from parts that come one after the other."""
    rooted = [name for name, term in loss.terms.items() if isinstance(term, ValueLoss) and term.kind == "rmse"]
    if accumulation > 1 and rooted:
        raise SfgMedError("accumulation", f"value_loss l1 or mse for {rooted[0]}", "rmse", "change it, or accumulation")
