# SPDX-License-Identifier: Apache-2.0
"""Benchmark entries for one window: a pass of every network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipelines.benchmark_settings import Measures, Settings, entry
from pipelines.contestants import BASELINE, Widths, compact, contestants, read_shares
from pipelines.race import matrix_rate, race
from sfg_med.allocator import tune_allocator
from sfg_med.devices import autocast, choose_device, choose_precision
from sfg_med.errors import SfgMedError
from sfg_med.sharing.counting import without_zeros

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@entry
def inference(settings: Settings) -> Measures:
    """A pass of every network over one window: seconds, arithmetic, ratios to hard sharing."""
    device = choose_device(settings.device)
    x = torch.randn(1, 1, *settings.window, generator=torch.Generator().manual_seed(0)).to(device)
    tune_allocator()
    networks, missing = _build(contestants(settings.shares), settings.widths, device)
    precisions = dict.fromkeys(("fp32", choose_precision(settings.precision, device)))
    rates = {p: matrix_rate(device, _DTYPES[p]) for p in precisions}
    with torch.inference_mode():
        work = {name: arithmetic(network, x) for name, network in networks.items()}
        actions = {
            f"{name}, {precision}": _pass(network, x, precision, device)
            for precision in precisions
            for name, network in networks.items()
        }
        measured = race(actions, f"{BASELINE}, fp32", turns=settings.turns, device=device)
    rows = {}
    for action, values in measured.items():
        name, precision = action.rsplit(", ", 1)
        base = measured[f"{BASELINE}, {precision}"]["ratio"]
        rows[action] = {
            **values,
            "time_over_hard_sharing": round(values["ratio"] / base, 4),
            "gflop": round(work[name], 2),
            "arithmetic_over_hard_sharing": round(work[name] / work[BASELINE], 4),
            "part_of_matrix_rate": round(work[name] / values["seconds"] / rates[precision], 4),
        }
    conditions = {"widths": list(settings.widths), "window": list(settings.window)}
    return {**conditions, "matrix_gflop_per_second": rates, "networks": rows, "missing": missing}


@entry
def programs(settings: Settings) -> Measures:
    """The compact network as it is, as an exported program (pt2) and by torch.compile: seconds to make, then to run."""
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    x = torch.randn(1, 1, *settings.window, generator=torch.Generator().manual_seed(0)).to(device)
    tune_allocator()
    (table, *_) = read_shares(settings.shares).values()
    network = compact(settings.widths, table, rounded=True).eval().to(device)
    made: dict[str, Callable[[Tensor], Any]] = {"eager": network}
    seconds: dict[str, float] = {}
    missing: dict[str, str] = {}

    def export() -> Callable[[Tensor], Any]:
        return torch.export.export(network, (x,)).module()

    for name, make in (("exported", export), ("compiled", lambda: torch.compile(network))):
        start = time.perf_counter()
        try:
            with torch.no_grad():
                program = make()
                _pass(program, x, precision, device)()
        except Exception as error:  # such as no C++ compiler on this machine
            missing[name] = " ".join(str(error).split())[:200]
            continue
        made[name], seconds[name] = program, round(time.perf_counter() - start, 2)
    with torch.no_grad():
        actions = {name: _pass(program, x, precision, device) for name, program in made.items()}
        rows = race(actions, "eager", turns=settings.turns, device=device)
    return {"precision": precision, "programs": rows, "seconds_to_make": seconds, "missing": missing}


def _build(
    makers: Mapping[str, Callable[[Widths], nn.Module]], widths: Widths, device: torch.device
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The networks, and why others are missing: not everybody has the packages of all."""
    networks, missing = {}, {}
    for name, build in makers.items():
        try:
            networks[name] = build(widths).eval().to(device)
        except SfgMedError as error:
            missing[name] = str(error)
    return networks, missing


def arithmetic(network: nn.Module, x: Tensor) -> float:
    """GFLOP of a pass; zeros that a compact network computes with because that is quicker do not count."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), without_zeros(), counter:
        network(x)
    return counter.get_total_flops() / 1e9


def _pass(network: Callable[[Tensor], Any], x: Tensor, precision: str, device: torch.device) -> Callable[[], Any]:
    def run() -> Tensor:
        with autocast(precision, device):
            result: Tensor = network(x)
            return result

    return run
