# SPDX-License-Identifier: Apache-2.0
"""Benchmark entries for training: a step of every form of sharing, and the loop around the step."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from pipelines.benchmark_settings import Measures, Settings, entry, peak_bytes
from pipelines.contestants import BASELINE, Widths, backbone
from pipelines.race import race
from sfg_med.allocator import tune_allocator
from sfg_med.devices import autocast, choose_device, choose_precision
from sfg_med.losses import JointLoss
from sfg_med.sharing import VariationalObjective
from sfg_med.spec import ANNOTATED, ModelSpec
from sfg_med.training import make_optimizer

TRAINED: dict[str, Any] = {
    BASELINE: "hard-sharing",
    "SFG, one formula": "sfg",
    "SFG, paths": {"name": "sfg", "form": "paths"},
}
# Of the loop: enough for the loader to run dry, if it is too slow. The first sixth does not count.
STEPS = 60


@entry
def training_step(settings: Settings) -> Measures:
    """A training step (forward, loss with penalties, backward, AdamW) on one window, in turns; peak memory."""
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    frame = (settings.widths, settings.window)
    steps = {name: _step(*frame, strategy, precision, device) for name, strategy in TRAINED.items()}
    rows = race(steps, BASELINE, turns=settings.turns, device=device)
    for name, strategy in TRAINED.items():
        rows[name]["peak_gib"] = _own_process(_peak_gib, *frame, strategy, precision, settings.device, settings.threads)
    for row in rows.values():
        row["peak_over_hard_sharing"] = round(row["peak_gib"] / rows[BASELINE]["peak_gib"], 4)
    return {"widths": list(frame[0]), "window": list(frame[1]), "precision": precision, "steps": rows}


@entry
def training_loop(settings: Settings) -> Measures:
    """``sfg-med train`` as configured against its bare training step: loading, transforms, logging included."""
    return dict(_own_process(_loop, settings.folder, settings.device, settings.threads, STEPS))


def _step(
    widths: Widths, window: Sequence[int], strategy: Any, precision: str, device: torch.device
) -> Callable[[], None]:
    """A training step of the benchmark's U-Net on random numbers."""
    network = backbone(widths, strategy).to(device).train()
    spec = ModelSpec()
    loss = JointLoss(spec, network, objective=VariationalObjective(1e-6, 1e-5, normalisation="mean"))
    optimizer = make_optimizer(network, loss=loss)
    numbers = torch.Generator().manual_seed(0)
    image = torch.randn(1, 1, *window, generator=numbers).to(device)
    targets: dict[str, Tensor] = {
        "ct": torch.randn(1, 1, *window, generator=numbers),
        "seg": torch.randint(0, 6, (1, 1, *window), generator=numbers),
        "mask": torch.ones(1, 1, *window),
        f"ct{ANNOTATED}": torch.ones(1, 1),
        f"seg{ANNOTATED}": torch.ones(1, 6),
    }
    targets = {name: value.to(device) for name, value in targets.items()}

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision, device):
            output = network(image)
        loss(output.float(), targets).backward()
        optimizer.step()

    return step


def _peak_gib(
    widths: Widths, window: Sequence[int], strategy: Any, precision: str, device_name: str, threads: int
) -> float:
    """Peak memory of a few steps: of the GPU, or of the process."""
    device = _prepare(device_name, threads)
    step = _step(widths, window, strategy, precision, device)
    for _ in range(3):
        step()
    return round(_peak(device), 4)


def _loop(folder: Path, device_name: str, threads: int, steps: int) -> Measures:
    from sfg_med.config_dir import config_dir
    from sfg_med.data.simulation.dataset import simulate_dataset
    from sfg_med.training.runner import training_workflow

    device = _prepare(device_name, threads)
    simulate_dataset(folder / "dataset", 6, 0, spacing_mm=(3.0, 3.0, 3.0))
    values: dict[str, Any] = {"dataset_dir": str(folder / "dataset"), "run_dir": str(folder / "run")}
    values |= {"steps": steps, "steps_per_epoch": steps, "val_interval": steps, "device": device}
    workflow = training_workflow([config_dir() / "train.yaml"], values)
    workflow.initialize()
    part = workflow.parser.get_parsed_content
    trainer: Engine = part("train#trainer")
    ends: list[float] = []
    batch: list[Any] = []

    def completed(engine: Engine) -> None:
        ends.append(time.perf_counter())
        batch[:] = [engine.state.batch]
        if len(ends) == steps:
            engine.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, completed)
    trainer.run()
    loop = np.diff(ends)[steps // 6 :]
    network, loss, optimizer, inferer = part("net"), part("loss"), part("optimizer"), part("train#inferer")
    image, targets = part("prepare_batch")(batch[0], device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(inferer(image, network), targets).backward()
        optimizer.step()

    network.train()
    bare = race({"step": step}, "step", turns=len(loop), device=device)["step"]
    low, middle, high = np.quantile(loop, (0.25, 0.5, 0.75)).tolist()
    return {
        "loop_seconds": middle,
        "loop_seconds_q1": low,
        "loop_seconds_q3": high,
        "loop_seconds_mean": float(loop.mean()),
        "bare_seconds": bare["seconds"],
        "bare_seconds_q1": bare["seconds_q1"],
        "bare_seconds_q3": bare["seconds_q3"],
        "loop_over_bare": round(middle / bare["seconds"], 4),
        "num_workers": part("num_workers"),
        "steps": len(loop),
    }


def _prepare(device_name: str, threads: int) -> torch.device:
    if threads:
        torch.set_num_threads(threads)
    tune_allocator()
    return choose_device(device_name)


def _peak(device: torch.device) -> float:
    """GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return peak_bytes() / 2**30


def _own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function in a fresh process, whose peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()
