# SPDX-License-Identifier: Apache-2.0
"""Honest timing: all that is compared takes turns in one process, and ratios are taken turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

Seconds = dict[str, np.ndarray[Any, Any]]


def race(
    actions: Mapping[str, Callable[[], Any]], baseline: str, *, turns: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Time actions in turns, see :func:`timed`, and compare them, see :func:`compared`.

    Args:
        actions: name to what is timed.
        baseline: the action that all are divided by.
        turns: how often each is timed.
        device: where they run.
    """
    return compared(timed(actions, turns=turns, device=device), dict.fromkeys(actions, baseline))


def timed(actions: Mapping[str, Callable[[], Any]], *, turns: int, device: torch.device) -> Seconds:
    """Seconds of each action in every turn.

    Whatever slows the machine down for a while slows all of them, and leaves the ratio of a turn as it is. In a turn
    each action runs twice and the second time counts: the first one pays for what the action before has left behind,
    such as memory in pieces and a processor that is slower after wide vectors.

    Args:
        actions: name to what is timed.
        turns: how often each is timed.
        device: where they run.

    Returns:
        For each action ``(turns,)``.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(turns):
        for name, action in actions.items():
            action()
            _wait(device)
            start = time.perf_counter()
            action()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def compared(seconds: Seconds, baselines: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """For each action the median seconds and the median ratio to its baseline, with their quartiles.

    Args:
        seconds: of :func:`timed`.
        baselines: action to the action that it is divided by, turn by turn.
    """
    return {
        name: {**_spread("seconds", seconds[name]), **_spread("ratio", seconds[name] / seconds[baseline])}
        for name, baseline in baselines.items()
    }


def time_modules(
    kinds: Mapping[nn.Module, str], action: Callable[[], Any], *, turns: int, device: torch.device
) -> list[dict[str, float]]:
    """Seconds that modules take in an action, turn by turn.

    Args:
        kinds: module to the name that its time is added to; a module in another one counts for both.
        action: runs the modules.
        turns: how often it is timed, after one turn that does not count.
        device: where it runs.

    Returns:
        For each turn the seconds of each kind, and of the whole action as ``total``.
    """
    spent: dict[str, float] = {}
    starts: dict[nn.Module, float] = {}

    def begin(module: nn.Module, _: Any) -> None:
        _wait(device)
        starts[module] = time.perf_counter()

    def end(module: nn.Module, _: Any, __: Any) -> None:
        _wait(device)
        spent[kinds[module]] = spent.get(kinds[module], 0.0) + time.perf_counter() - starts[module]

    hooks = [h for m in kinds for h in (m.register_forward_pre_hook(begin), m.register_forward_hook(end))]
    rows = []
    for _ in range(turns + 1):
        spent.clear()
        start = time.perf_counter()
        action()
        _wait(device)
        rows.append({"total": time.perf_counter() - start, **spent})
    for hook in hooks:
        hook.remove()
    return rows[1:]


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
