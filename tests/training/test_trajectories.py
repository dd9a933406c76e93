# SPDX-License-Identifier: Apache-2.0
"""``trajectories.npz`` holds p of every kernel, and an interrupted run leaves the file of a whole one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events

from sfg_med.networks import SFGUNet
from sfg_med.training import TrajectoryHandler
from sfg_med.training.trajectories import FILE
from tests.training.interruption import InterruptAt, Interruption


class Copy:
    """An independent record of p after every iteration."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, np.ndarray]] = {}

    def attach(self, engine: Engine) -> None:
        self.network = engine.network  # type: ignore[attr-defined]
        engine.add_event_handler(Events.STARTED, self)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        p = self.network.group_probabilities()
        self.seen[engine.state.iteration] = {k: v.detach().numpy().copy() for k, v in p.items()}


def read(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / FILE) as file:
        return {name: file[name] for name in file.files}


def test_records_are_p_at_the_start_every_interval_and_the_end(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    copy = Copy()
    options = {"steps": 5, "steps_per_epoch": 5, "freeze_groups_at": 0.6, "trajectory_interval": 2}
    found = read(train_tiny(tmp_path / "run", observers=(copy,), **options))
    # groups are fixed at the start of iteration 4: the record of step 3 is what had been learned
    assert found["steps"].tolist() == [0, 2, 3, 4, 5]
    assert found["groups"].tolist() == ["ct", "ct+seg", "seg"]
    layers = copy.seen[0]
    assert set(found) == {"steps", "groups", "free", *layers}
    for name in layers:
        assert found[name].dtype == np.float16
        for row, step in enumerate((0, 2, 3, 4, 5)):
            np.testing.assert_allclose(found[name][row], copy.seen[step][name], atol=3e-4)
    kernels = [len(p) for p in layers.values()]
    assert found["free"].tolist() == [kernels, kernels, kernels, [0] * len(kernels), [0] * len(kernels)]
    moved = max(abs(found[name][1].astype(float) - found[name][0]).max() for name in layers)
    assert moved > 1e-3, "the test would not see a record that never changes"


def test_interrupted_and_resumed_equals_uninterrupted(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"steps": 6, "steps_per_epoch": 3, "trajectory_interval": 1, "freeze_groups_at": None}
    whole = train_tiny(tmp_path / "whole", **options)
    with pytest.raises(Interruption):
        train_tiny(tmp_path / "cut", observers=(InterruptAt(6),), **options)
    assert read(tmp_path / "cut")["steps"].tolist() == [0, 1, 2, 3, 4, 5]
    cut = read(train_tiny(tmp_path / "cut", **options))
    expected = read(whole)
    assert expected["steps"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert cut.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(values, cut[name])


def test_finished_run_stays_and_starting_again_forgets(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "run")
    before = (run / FILE).read_bytes()
    assert read(run)["steps"].tolist() == [0, 1, 2, 4], "one an epoch, and one before the groups are fixed"
    train_tiny(run)
    assert (run / FILE).read_bytes() == before
    train_tiny(run, resume=False, steps=2)
    assert read(run)["steps"].tolist() == [0, 1, 2]


def test_many_epochs_leave_a_hundred_records_or_two(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    overrides = {"steps": 250, "steps_per_epoch": 1, "train::trainer::max_epochs": 0, "val_interval": 250}
    from sfg_med.training.runner import config_dir, training_workflow

    values = {"dataset_dir": str(tmp_path), "run_dir": str(tmp_path), **overrides}
    parser = training_workflow([config_dir() / "train.yaml"], values).parser
    interval = next(h for h in parser["train"]["handlers"] if h["_target_"].endswith("TrajectoryHandler"))["every"]
    parser["probe"] = interval
    parser.parse(True)
    assert parser.get_parsed_content("probe") == 2
    with pytest.raises(ValueError, match="trajectory_interval"):
        TrajectoryHandler(str(tmp_path), SFGUNet(2, channels=(4, 4)), every=-1)


def test_a_network_without_learned_groups_leaves_no_file(tmp_path: Path) -> None:
    network = SFGUNet(2, channels=(4, 4))
    compact = network.compact()
    engine = Engine(lambda *_: torch.zeros(1))
    TrajectoryHandler(str(tmp_path / "compact"), compact, 1).attach(engine)
    engine.run([0])
    assert not (tmp_path / "compact").exists()
