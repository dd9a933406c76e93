# SPDX-License-Identifier: Apache-2.0
"""From probabilities to fixed groups: the likeliest ones, with something left to every task."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from sfg_med.sharing.distribution import EPS
from sfg_med.sharing.groups import TaskGroups


@dataclass(frozen=True)
class Reserve:
    """What every task has of each layer's kernels at least when groups are fixed.

    A task without kernels of its own in a layer lives on what is shared, and what is shared reads only what is shared
    before: the likeliest groups alone may cut a task off from its input, or leave it a few channels of the last layer.
    The gradient of p does not see that, as it moves one kernel at a time.

    Args:
        own: part that serves it alone, rounded up; where there are not enough kernels for that, the tasks get as many
            each as there are.
        usable: part that it can use, its own and what it shares, rounded up.
    """

    own: float = 0.0
    usable: float = 0.0


def fixed_groups(probabilities: Tensor, groups: TaskGroups, reserve: Reserve | None = None) -> Tensor:
    """The likeliest choice of groups in which every task has its reserve.

    Args:
        probabilities: ``(K, G)``, rows sum to 1.
        groups: the G groups.
        reserve: what every task has; nothing by default.

    Returns:
        ``(K,)`` group indices.
    """
    reserve = reserve or Reserve()
    p = probabilities.detach().clamp_min(EPS).log().cpu().double().numpy()
    kernels = len(p)
    alone = np.array([[sets == (task,) for sets in groups.sets] for task in range(len(groups.tasks))])
    holds = groups.holds.cpu().numpy()
    own = min(math.ceil(reserve.own * kernels), kernels // len(alone))
    # What the other tasks have for themselves this one cannot use.
    usable = min(math.ceil(reserve.usable * kernels), kernels - (len(alone) - 1) * own)
    chosen = p.argmax(-1)
    if (alone[:, chosen].sum(1) < own).any() or (holds[:, chosen].sum(1) < usable).any():
        found = _likeliest(p, alone, own, holds, usable)
        # Groups that were given without one of all tasks may not allow for both.
        chosen = found if found is not None else _likeliest(p, alone, own, holds, 0)
    return torch.from_numpy(chosen).to(probabilities.device)


def _likeliest(
    p: NDArray[np.float64], alone: NDArray[np.bool_], own: int, holds: NDArray[np.bool_], usable: int
) -> NDArray[np.int64] | None:
    """Whole-number programme: one group for each kernel, of the greatest likelihood; ``None`` if there is no way."""
    kernels, count = p.shape
    constraints = [
        LinearConstraint(np.kron(np.eye(kernels), np.ones(count)), 1, 1),
        LinearConstraint(np.tile(alone.astype(float), kernels), own, np.inf),
        LinearConstraint(np.tile(holds.astype(float), kernels), usable, np.inf),
    ]
    result = milp(-p.ravel(), constraints=constraints, integrality=np.ones(p.size), bounds=Bounds(0, 1))
    return None if result.x is None else result.x.reshape(p.shape).argmax(1)
