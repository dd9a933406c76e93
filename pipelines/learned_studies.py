# SPDX-License-Identifier: Apache-2.0
"""The paper's two studies of p: does its start matter, and where does it go when both tasks are the same?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.runs import Run
from sfg_med.errors import SfgMedError
from sfg_med.report.sharing_files import TRAJECTORIES, Floats, Trajectories, entropy, read_trajectories

INITIALISATION, DUPLICATES = "initialisation", "duplicates"
STARTS: dict[str, Any] = {
    "0.2-0.6-0.2": [0.2, 0.6, 0.2],
    "0.45-0.1-0.45": [0.45, 0.1, 0.45],
    "dirichlet": "dirichlet",
    "vertices": "vertices",
}
"""Starts of p of the paper's study (methods.md 1.13), for two tasks: task 1, shared, task 2."""

PLACES: dict[str, tuple[Sequence[Sequence[float]], str]] = {
    "one task": ([(1, 0, 0), (0, 0, 1)], "a corner of one task"),
    "shared": ([(0, 1, 0)], "the shared corner"),
    "halves": ([(0.5, 0, 0.5)], "[1/2, 0, 1/2]: one task or the other"),
    "thirds": ([(1 / 3, 1 / 3, 1 / 3)], "[1/3, 1/3, 1/3]: undecided"),
}
"""Landmarks of the simplex, and what a kernel is that lies nearest to them."""


def variants(study: str, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Variant of the study to the config keys that make it.

    Args:
        study: one of the two.
        config: values of the training config, overrides applied.

    Raises:
        SfgMedError: for an unknown study, or for duplicates of a config without an image task.
    """
    if study == INITIALISATION:
        return {name: {"network::group_init": start} for name, start in STARTS.items()}
    if study != DUPLICATES:
        raise SfgMedError("--study", f"{INITIALISATION} or {DUPLICATES}", study, "correct it")
    image = next((task for task in config["tasks"] if task["kind"] == "image"), None)
    if image is None:
        raise SfgMedError("tasks", "an image task to be learned twice", "none", "use a config with one")
    return {"duplicate": duplicate(image, config), "distinct": {}}


def duplicate(image: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Config keys for the same image task twice: two names, one file, equal weights."""
    first, second = image["name"], f"{image['name']}2"
    file = config["files"].get(first, f"{{case}}/{first}")
    weight = config["task_weights"].get(first, 1.0)
    return {
        "tasks": [dict(image), {**image, "name": second}],
        "files": {**config["files"], second: file},
        "task_weights": {first: weight, second: weight},
    }


@dataclass(frozen=True)
class Outcome:
    """What became of p in one run.

    Args:
        run: variant and seed.
        record: p over the run.
    """

    run: Run
    record: Trajectories

    @property
    def kernels(self) -> Floats:
        """``(L,)`` weights of the layers: their parts of all kernels."""
        counts = np.array([values.shape[1] for values in self.record.p], dtype=float)
        result: Floats = counts / counts.sum()
        return result

    def shares(self, index: int) -> Floats:
        """``(L, G)`` mean p of each layer at a record."""
        return np.stack([values[index].mean(axis=0) for values in self.record.p])

    @property
    def learned(self) -> Floats:
        """``(L, G)`` when p was last learned."""
        return self.shares(self.record.learned)

    @property
    def final(self) -> Floats:
        """``(L, G)`` at the end, when kernels are fixed to groups where the config says so."""
        return self.shares(-1)

    @property
    def decided(self) -> Floats:
        """``(L, G)`` shares of kernels by their likeliest group when p was last learned."""
        groups = np.eye(len(self.record.groups))
        return np.stack([groups[p.argmax(axis=1)].mean(axis=0) for p in self.record.learned_p()])

    def numbers(self) -> dict[str, Any]:
        """For JSON: shares by layer, and how certain p became and how far it went."""
        learned = np.concatenate(self.record.learned_p())
        start = np.concatenate([values[0] for values in self.record.p])
        shared = widest(self.record.groups)
        return {
            "steps_learned": int(self.record.steps[self.record.learned]),
            "shared_start": float(start[:, shared].mean()),
            "shared_mean_p": float(learned[:, shared].mean()),
            "shared_likeliest": float(self.kernels @ self.decided[:, shared]),
            "entropy_start": float(entropy(start).mean()),
            "entropy": float(entropy(learned).mean()),
            "moved": float(np.abs(learned - start).sum(axis=1).mean() / 2),
            "changed_group": float((learned.argmax(axis=1) != start.argmax(axis=1)).mean()),
            "layers": {
                name: {"mean_p": _list(mean), "likeliest": _list(part), "places": places(p)}
                for name, mean, part, p in zip(
                    self.record.names, self.learned, self.decided, self.record.learned_p(), strict=True
                )
            },
        }


def read_outcomes(out: Path, runs: Sequence[Run]) -> list[Outcome]:
    """The runs that left a record, in order."""
    found = [(run, run.folder(out) / TRAJECTORIES) for run in runs]
    return [Outcome(run, read_trajectories(path)) for run, path in found if path.is_file()]


def distance(first: Outcome, second: Outcome) -> float:
    """Part of the kernels that would have to change groups to make the shares by layer equal, 0 to 1.

    The total variation between the layers' shares of likeliest groups, weighted by the layers' kernels. Which kernel
    does what cannot be compared between runs, only how many do.
    """
    apart = np.abs(first.decided - second.decided).sum(axis=1) / 2
    return float(first.kernels @ apart)


def distances(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float | None]]:
    """Mean distance between variants (the same seed), and on the diagonal between the seeds of a variant."""
    names = list(dict.fromkeys(outcome.run.strategy for outcome in outcomes))
    table: dict[str, dict[str, float | None]] = {}
    for a in names:
        table[a] = {}
        for b in names:
            pairs = [
                distance(x, y)
                for x in outcomes
                for y in outcomes
                if (x.run.strategy, y.run.strategy) == (a, b)
                and (x.run.seed < y.run.seed if a == b else x.run.seed == y.run.seed)
                and x.record.groups == y.record.groups
            ]
            table[a][b] = float(np.mean(pairs)) if pairs else None
    return table


def places(p: Floats) -> dict[str, float]:
    """Part of the kernels ``(K, 3)`` that lies nearest to each landmark; empty for other numbers of groups."""
    if p.shape[1] != 3:
        return {}
    marks = [(name, mark) for name, (points, _) in PLACES.items() for mark in points]
    apart = np.linalg.norm(p[:, None] - np.array([mark for _, mark in marks]), axis=-1)
    nearest = [marks[i][0] for i in apart.argmin(axis=1)]
    return {name: nearest.count(name) / len(nearest) for name in PLACES}


def widest(groups: Sequence[str]) -> int:
    """Index of the group of most tasks."""
    return max(range(len(groups)), key=lambda i: groups[i].count("+"))


def _list(values: Floats) -> list[float]:
    return [round(float(v), 4) for v in values]
