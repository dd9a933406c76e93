# SPDX-License-Identifier: Apache-2.0
"""``trajectories.npz``: the group probabilities of every kernel over a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from sfg_med.data.atomic import atomic_path
from sfg_med.networks import MultiTaskNetwork
from sfg_med.sharing.kernel_groups import FREE

FILE = "trajectories.npz"
STEPS, GROUPS, LEARNING = "steps", "groups", "free"


class TrajectoryHandler:
    """Record p of all kernels at the start, every few iterations, just before groups are fixed, and at the end.

    Attach it after what fixes the groups (:class:`sfg_med.training.GroupingHandler`).

    The file holds ``steps`` ``(N,)``, ``groups`` (names of the G groups), ``free`` ``(N, L)`` (how many kernels of each
    layer still learned their group) and, under the name of each of the L layers, p: ``(N, K, G)`` in half precision,
    whose rounding (at most 0.0003) is far below what a figure shows. Kernels that are fixed to a group have one-hot
    rows. A network that learns no groups leaves no file.

    Args:
        run_dir: folder of the run.
        network: the network.
        every: iterations between two records.
    """

    def __init__(self, run_dir: str, network: MultiTaskNetwork, every: int) -> None:
        if every < 1:
            raise ValueError(f"trajectory_interval must be at least 1, got {every}")
        self.path, self.network, self.every = Path(run_dir) / FILE, network, every
        self.records: dict[int, dict[str, NDArray[Any]]] | None = None
        self.free: list[int] = []

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; only the first process writes."""
        if idist.get_rank() or not self.network.sharing_layers():
            return
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_STARTED, self.fixed)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self.record)
        engine.add_event_handler(Events.COMPLETED, self.record)

    def started(self, engine: Engine) -> None:
        """Drop what an interrupted run recorded after its last checkpoint; record the start of a new run."""
        self.records = self._read(engine.state.iteration) if engine.state.iteration else {}
        self.free = self._free()
        if not self.records:
            self.record(engine)

    def fixed(self, engine: Engine) -> None:
        """Record what had been learned if the iteration that starts has fixed kernels."""
        free = self._free()
        if any(now < before for now, before in zip(free, self.free, strict=True)):
            self._add(engine.state.iteration - 1, self.free, learned=True)
        self.free = free

    def record(self, engine: Engine) -> None:
        """Add p as it is now, and write the file as a whole."""
        self._add(engine.state.iteration, self._free())

    def _free(self) -> list[int]:
        layers = self.network.sharing_layers().values()
        return [int((layer.kernel_groups.assignment == FREE).sum()) for layer in layers]

    def _add(self, step: int, free: list[int], learned: bool = False) -> None:
        if self.records is None:  # a finished run that is only completed again never starts
            self.records = self._read(step)
        if step in self.records:
            return
        row: dict[str, NDArray[Any]] = {LEARNING: np.array(free)}
        for (name, layer), count in zip(self.network.sharing_layers().items(), free, strict=True):
            groups = layer.kernel_groups
            before = groups.distribution if learned and count == len(groups.assignment) else None
            p = groups.probabilities() if before is None else before()
            row[name] = p.detach().cpu().numpy().astype(np.float16)
        self.records[step] = row
        rows = list(self.records.values())
        arrays: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        with atomic_path(self.path) as temporary:
            np.savez_compressed(
                temporary, **{STEPS: np.array([*self.records]), GROUPS: np.array(self.network.groups.names), **arrays}
            )

    def _read(self, until: int) -> dict[int, dict[str, NDArray[Any]]]:
        if not self.path.is_file():
            return {}
        with np.load(self.path) as file:
            steps = file[STEPS].tolist()
            arrays = {name: file[name] for name in file.files if name not in (STEPS, GROUPS)}
        kept = [i for i, step in enumerate(steps) if step <= until]
        return {steps[i]: {name: values[i] for name, values in arrays.items()} for i in kept}
