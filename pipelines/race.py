# SPDX-License-Identifier: Apache-2.0
"""Honest timing: all that is compared takes turns in one process, and ratios are taken turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch


def race(
    actions: Mapping[str, Callable[[], Any]], baseline: str, *, turns: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Time actions in turns.

    Whatever slows the machine down for a while slows all of them, and leaves the ratio of a turn as it is.

    Args:
        actions: name to what is timed.
        baseline: the action that the others are divided by.
        turns: how often each is timed, after one turn that does not count.
        device: where they run.

    Returns:
        For each action the median seconds and the median ratio to the baseline, with their quartiles.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(turns + 1):
        for name, action in actions.items():
            _wait(device)
            start = time.perf_counter()
            action()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    counted = {name: np.array(values[1:]) for name, values in seconds.items()}
    return {
        name: {**_spread("seconds", values), **_spread("ratio", values / counted[baseline])}
        for name, values in counted.items()
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _spread(name: str, values: np.ndarray[Any, Any]) -> dict[str, float]:
    low, middle, high = (float(f"{q:.6g}") for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return {name: middle, f"{name}_q1": low, f"{name}_q3": high}


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """GFLOP (10^9 additions and multiplications) a second of a matrix product (first quartile of nine)."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = race({"product": lambda: a @ b}, "product", turns=9, device=device)["product"]["seconds_q1"]
    return 2 * size**3 / seconds / 1e9
