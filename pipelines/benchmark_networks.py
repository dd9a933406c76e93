# SPDX-License-Identifier: Apache-2.0
"""Benchmark entries for one window: a pass of every network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipelines.benchmark_settings import Measures, Settings, entry
from pipelines.contestants import BASELINE, PAIR, Widths, backbone, compact, contestants, read_shares
from pipelines.race import compared, matrix_rate, race, time_modules, timed
from sfg_med.allocator import tune_allocator
from sfg_med.devices import autocast, choose_device, choose_precision
from sfg_med.errors import SfgMedError
from sfg_med.networks.blocks import SharingBlock
from sfg_med.sharing import SharingConv
from sfg_med.sharing.compact import CompactConv
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
        seconds = timed(actions, turns=settings.turns, device=device)
    own = {action: f"{BASELINE}, {action.rsplit(', ', 1)[1]}" for action in actions}
    against_pair = compared(seconds, dict.fromkeys(actions, f"{PAIR}, fp32")) if PAIR in networks else {}
    rows = {}
    for action, values in compared(seconds, own).items():
        name, precision = action.rsplit(", ", 1)
        pair = {f"{k}_to_pair_in_fp32": v for k, v in against_pair.get(action, {}).items() if k.startswith("ratio")}
        rows[action] = {
            **values,
            **pair,
            "gflop": round(work[name], 2),
            "arithmetic_over_hard_sharing": round(work[name] / work[BASELINE], 4),
            "part_of_matrix_rate": round(work[name] / values["seconds"] / rates[precision], 4),
        }
    conditions = {"widths": list(settings.widths), "window": list(settings.window)}
    return {**conditions, "matrix_gflop_per_second": rates, "networks": rows, "missing": missing}


@entry
def profile(settings: Settings) -> Measures:
    """Where the seconds of a pass go: convolutions, norm and activation, interpolation and joining."""
    device = choose_device(settings.device)
    x = torch.randn(1, 1, *settings.window, generator=torch.Generator().manual_seed(0)).to(device)
    tune_allocator()
    (table, *_) = read_shares(settings.shares).values()
    networks: dict[str, nn.Module] = {
        BASELINE: backbone(settings.widths, "hard-sharing").compact(),
        "SFG, compact": compact(settings.widths, table, rounded=True),
    }
    rows = {}
    for precision in dict.fromkeys(("fp32", choose_precision(settings.precision, device))):
        for name, network in networks.items():
            action = _pass(network.eval().to(device), x, precision, device)
            with torch.inference_mode():
                action()
                rows[f"{name}, {precision}"] = _kinds(network, action, settings.turns, device)
    return rows


def _kinds(network: nn.Module, action: Callable[[], Any], turns: int, device: torch.device) -> dict[str, float]:
    """Median seconds of a pass in convolutions, in norm and activation, and in all the rest."""
    blocks = [m for m in network.modules() if isinstance(m, SharingBlock)]
    within = {m for block in blocks for m in block.modules()}
    kinds: dict[nn.Module, str] = dict.fromkeys(blocks, "blocks")
    for module in network.modules():
        if isinstance(module, SharingConv | CompactConv):
            kinds[module] = "block convolutions" if module in within else "other convolutions"
    rows = []
    for spent in time_modules(kinds, action, turns=turns, device=device):
        blocks_, inner, other = (spent.get(k, 0.0) for k in ("blocks", "block convolutions", "other convolutions"))
        rows.append(
            {
                "total": spent["total"],
                "convolution": inner + other,
                "norm and activation": blocks_ - inner,
                "interpolation, joining, rest": spent["total"] - blocks_ - other,
            }
        )
    return {kind: float(f"{np.median([row[kind] for row in rows]):.4g}") for kind in rows[0]}


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
