# SPDX-License-Identifier: Apache-2.0
"""The steps around a training run: gather cases, prepare the folder, resume, write the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch

from sfg_med.data.atomic import atomic_path, write_json
from sfg_med.data.cases import Dataset, find_cases
from sfg_med.data.splits import PARTS, choose_splits
from sfg_med.errors import SfgMedError
from sfg_med.model_file import save_model
from sfg_med.networks import MultiTaskNetwork
from sfg_med.sharing import GroupingSchedule, Reserve, TemperatureSchedule
from sfg_med.spec import ModelSpec
from sfg_med.training.checkpoints import BEST
from sfg_med.transforms import case_items


def training_parts(datasets: Sequence[Any], spec: ModelSpec, folds: int, fold: int, seed: int) -> dict[str, Any]:
    """Cases of all datasets by part: items for the transforms under "train", "validation" and "test".

    Raises:
        SfgMedError: for a dataset, case or split that is wrong, or if there is nothing to train or validate on.
    """
    parts: dict[str, Any] = {part: [] for part in PARTS}
    for dataset in map(Dataset.of, datasets):
        cases = find_cases(dataset, spec)
        names = [c.name for c in cases]
        splits = choose_splits(dataset.path / dataset.splits, names, folds=folds, fold=fold, seed=seed)
        for part in PARTS:
            parts[part] += case_items([c for c in cases if c.name in splits[part]])
    for part in ("train", "validation"):
        if not parts[part]:
            raise SfgMedError(datasets[0]["path"], f"cases for {part}", "none", "add cases or change the splits")
    parts["datasets"] = [Dataset.of(d).path.name for d in datasets]
    return parts


def grouping_schedule(
    steps: int,
    start: float,
    floor: float,
    reached: float,
    freeze_at: float | None,
    rate: float | None = None,
    own: float = 0.0,
    usable: float = 0.0,
) -> GroupingSchedule:
    """The groups' schedule from parts of the run.

    Args:
        steps: iterations of the run.
        start: temperature at the start.
        floor: lowest temperature.
        reached: part of the run after which the temperature is at its floor; unused if there is a rate.
        freeze_at: part of the run after which the groups are fixed; ``None`` for never.
        rate: decay of the temperature in each iteration, whatever the length of the run (the paper: 1e-5).
        own: part of each layer's kernels that every task has for itself when the groups are fixed.
        usable: part of each layer's kernels that every task can use then, its own and what it shares.

    Raises:
        SfgMedError: for a part of its own outside 0 to 1/2, or a usable one outside 0 to 1.
    """
    if not 0 <= own <= 0.5:
        raise SfgMedError("least_own", "a part from 0 to 0.5", str(own), "0.125 is usual")
    if not 0 <= usable <= 1:
        raise SfgMedError("least_usable", "a part from 0 to 1", str(usable), "0.5 is usual")
    if rate is None:
        temperature = TemperatureSchedule.reaching(floor, round(reached * steps), start)
    else:
        temperature = TemperatureSchedule(start, rate, floor)
    step = None if freeze_at is None else round(freeze_at * steps)
    return GroupingSchedule(temperature, step, Reserve(own, usable))


def prepare_run(run_dir: str, spec: ModelSpec, parts: Mapping[str, Any]) -> None:
    """Make the run's folder and write down what will be trained on what."""
    if idist.get_rank():
        return
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", spec.to_dict())
    write_json(folder / "splits.json", {part: [item["case"] for item in parts[part]] for part in PARTS})


def count_epochs(steps: int, steps_per_epoch: int) -> int:
    """Epochs of a run: what happens after each epoch is validation and a checkpoint.

    Raises:
        SfgMedError: if the run is no whole number of epochs; a run shorter than one epoch is one.
    """
    length = min(steps_per_epoch, steps)
    if length < 1 or steps % length:
        expected = f"a positive multiple of steps_per_epoch ({steps_per_epoch})"
        raise SfgMedError("steps", expected, str(steps), "change steps or steps_per_epoch")
    return steps // length


def write_model(run_dir: str, network: MultiTaskNetwork, spec: ModelSpec, provenance: Mapping[str, Any]) -> None:
    """Write the best network of the run: ``models/model.safetensors`` for sfg-med and ``models/model.pt`` for MONAI."""
    if idist.get_rank():
        return
    folder = Path(run_dir)
    best = folder / "checkpoints" / BEST
    if best.is_file():
        network.load_state_dict(torch.load(best, map_location="cpu", weights_only=True))
    models = folder / "models"
    compact = network.groups_are_fixed  # a pattern that changed while training has come to rest
    save_model(models / "model.safetensors", network, spec, compact=compact, provenance=provenance)
    with atomic_path(models / "model.pt") as temporary:
        torch.save(network.state_dict(), temporary)
