# SPDX-License-Identifier: Apache-2.0
"""Pieces of the MONAI engines: batches, number format, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ignite.distributed as idist
import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from sfg_med.devices import autocast, choose_precision
from sfg_med.sharing.distribution import GroupDistribution


class PrepareBatch:
    """Split a batch into the input image and everything else, the targets.

    Args:
        input_name: key of the input image.
    """

    def __init__(self, input_name: str = "mr") -> None:
        self.input_name = input_name

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return ``(image (B, 1, *spatial), targets)`` on the device, as plain tensors."""
        moved = {
            key: torch.as_tensor(value).to(device, non_blocking=non_blocking) if torch.is_tensor(value) else value
            for key, value in batch.items()
        }
        plain = {k: v.as_tensor() if hasattr(v, "as_tensor") else v for k, v in moved.items()}
        return plain.pop(self.input_name), plain


class PrecisionInferer(Inferer):
    """Run another inferer in a number format; MONAI's own mixed precision knows CUDA only.

    Args:
        inferer: the inferer.
        precision: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    """

    def __init__(self, inferer: Inferer, precision: str = "auto") -> None:
        super().__init__()
        self.inferer, self.precision = inferer, precision

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Output of the network in float32."""
        chosen = choose_precision(self.precision, inputs.device)
        with autocast(chosen, inputs.device):
            return self.inferer(inputs, network, *args, **kwargs).float()


def make_optimizer(
    network: nn.Module,
    *,
    loss: nn.Module | None = None,
    learning_rate: float = 1e-3,
    group_learning_rate: float = 3e-2,
    variance_learning_rate: float = 2e-2,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """AdamW (with weight decay 0, Adam) with own learning rates for group probabilities and the tasks' variances.

    Args:
        network: the network.
        loss: the loss, whose parameters are learned too.
        learning_rate: of the weights; the paper uses 1e-3 for everything.
        group_learning_rate: of the free variables behind p.
        variance_learning_rate: of the loss's log variances, which have far to go: to -7 for a CT in thousands of HU.
        weight_decay: decoupled weight decay of the weights.
    """
    free = [p.rho for p in network.modules() if isinstance(p, GroupDistribution)]
    groups = [p for p in free if p.requires_grad]
    weights = [p for p in network.parameters() if not any(p is q for q in free)]
    sets: list[dict[str, Any]] = [{"params": weights, "lr": learning_rate, "weight_decay": weight_decay}]
    if groups:
        sets.append({"params": groups, "lr": group_learning_rate, "weight_decay": 0.0})
    variances = [] if loss is None else list(loss.parameters())
    if variances:
        sets.append({"params": variances, "lr": variance_learning_rate, "weight_decay": 0.0})
        if idist.get_world_size() > 1:  # DistributedDataParallel averages the gradients of the network only
            for variance in variances:
                variance.register_hook(_mean_over_processes)
    return torch.optim.AdamW(sets)


def _mean_over_processes(gradient: Tensor) -> Tensor:
    total = torch.as_tensor(idist.all_reduce(gradient.clone()))
    return total / idist.get_world_size()


def one_cycle(
    optimizer: torch.optim.Optimizer, steps: int, warmup: float = 0.05, final: float = 0.01
) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up over a part of the run, then cosine decay to ``final`` of each learning rate.

    Args:
        optimizer: the optimiser.
        steps: iterations of the run.
        warmup: part of the run that warms up.
        final: last learning rate, as a part of the highest.
    """
    rise = max(1, int(warmup * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, steps - rise))
        return final + (1 - final) * 0.5 * (1 + float(torch.cos(torch.tensor(progress * torch.pi))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
