# SPDX-License-Identifier: Apache-2.0
"""A run that is interrupted and started again is the run that was never interrupted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from sfg_med.errors import SfgMedError
from sfg_med.networks import MultiTaskNetwork
from tests.training.interruption import InterruptAt, Interruption

# Two epochs of three steps; a history row every two steps, so that the interruption falls between two rows.
LENGTH = {"steps": 6, "steps_per_epoch": 3, "log_interval": 2}


class Watch:
    """Note temperature and free kernels of the first iteration of a call."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, int]] = []

    def attach(self, engine: Engine) -> None:
        self.network: MultiTaskNetwork = engine.network  # type: ignore[attr-defined]
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        free = sum(int((g < 0).sum()) for k, g in self.network.state_dict().items() if k.endswith("assignment"))
        self.seen.append((engine.state.iteration, self.network.policy.temperature, free))


def last_weights(run: Path) -> dict[str, Any]:
    assert {p.name for p in (run / "checkpoints").iterdir()} <= {"last.pt", "best.pt"}
    return torch.load(run / "checkpoints" / "last.pt", weights_only=True)


def history(run: Path) -> list[str]:
    return (run / "history.csv").read_text().splitlines()


def assert_same_tensors(first: Any, second: Any) -> None:
    if isinstance(first, torch.Tensor):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_same_tensors(value, second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same_tensors(a, b)
    else:
        assert first == second


@pytest.mark.parametrize("num_workers", [0, 1])
def test_interrupted_and_resumed_equals_uninterrupted(
    train_tiny: Callable[..., Path], tmp_path: Path, num_workers: int
) -> None:
    options = {**LENGTH, "num_workers": num_workers, "freeze_groups_at": 0.6, "network::policy::mode": "gumbel"}
    whole_watch, resumed_watch = Watch(), Watch()
    whole = train_tiny(tmp_path / "whole", observers=(whole_watch,), **options)
    with pytest.raises(Interruption):
        train_tiny(tmp_path / "cut", observers=(InterruptAt(5),), **options)
    cut = train_tiny(tmp_path / "cut", observers=(resumed_watch,), **options)

    assert_same_tensors(last_weights(whole), last_weights(cut))
    assert history(whole) == history(cut)
    assert json.loads((whole / "groups.json").read_text()) == json.loads((cut / "groups.json").read_text())
    assert_same_tensors(*(torch.load(r / "models" / "model.pt", weights_only=True) for r in (whole, cut)))
    assert resumed_watch.seen == whole_watch.seen[3:], "temperature and frozen groups right after the resumption"
    free = [f for _, _, f in whole_watch.seen]
    assert free[0] > 0
    assert free[-1] == 0, "the groups are frozen in the second half"


def test_a_finished_run_stays_finished_and_can_be_made_longer(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "run")
    before, rows = last_weights(run), history(run)
    (run / "models" / "model.safetensors").unlink()
    train_tiny(run)
    assert_same_tensors(before, last_weights(run))
    assert history(run) == rows
    assert (run / "models" / "model.safetensors").is_file(), "lost between the last checkpoint and the model"
    train_tiny(run, steps=6)
    assert last_weights(run)["trainer"]["iteration"] == 6
    assert history(run)[: len(rows)] == rows
    with pytest.raises(SfgMedError, match="a checkpoint of this config"):
        train_tiny(run, steps=2)


def test_starting_again_forgets_the_earlier_run(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "run")
    before = last_weights(run)
    train_tiny(run, resume=False, steps=2, val_interval=5)
    assert last_weights(run)["trainer"]["iteration"] == 2
    assert {row.split(",")[0] for row in history(run)[1:]} == {"2"}
    assert before["trainer"]["iteration"] == 4


@pytest.mark.parametrize("damage", ["text", "truncated", "other network"])
def test_a_checkpoint_that_does_not_fit_is_one_line(
    train_tiny: Callable[..., Path], tiny_run: Path, tmp_path: Path, damage: str
) -> None:
    name = "last.pt"
    content = (tiny_run / "checkpoints" / name).read_bytes()
    path = tmp_path / "run" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    path.write_bytes({"text": b"no checkpoint", "truncated": content[: len(content) // 2]}.get(damage, content))
    more = {"network::channels": [8, 8]} if damage == "other network" else {}
    with pytest.raises(SfgMedError) as caught:
        train_tiny(tmp_path / "run", steps=6, **more)
    assert name in str(caught.value)
    assert "resume=false" in str(caught.value)
    assert "\n" not in str(caught.value)
