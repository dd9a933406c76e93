# SPDX-License-Identifier: Apache-2.0
"""Runs that are told to stop, or killed: they go on as if nothing had happened."""

import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from sfg_med.data.atomic import MARK
from sfg_med.errors import SfgMedError
from sfg_med.training.runner import config_dir
from sfg_med.training.stopping import STOPPED, RunStopped, ignore_stop_signals
from tests.training.forks import start, together
from tests.training.test_resume import assert_same_tensors, history, last_weights

# Twenty were done where the docs say so; the suite has time for a few.
KILLS = int(os.environ.get("SFG_MED_KILLS", "5"))
LENGTH = {"steps": 8, "steps_per_epoch": 4, "log_interval": 3, "freeze_groups_at": 0.6}
MULTI = config_dir() / "multi_gpu_train.yaml"


class SignalAt:
    """A signal to this process in the middle of an iteration."""

    def __init__(self, number: int, iteration: int, rank: int = 0) -> None:
        self.number, self.iteration, self.rank = number, iteration, rank

    def attach(self, engine: Engine) -> None:
        if int(os.environ.get("RANK", "0")) == self.rank:
            engine.add_event_handler(Events.ITERATION_STARTED(once=self.iteration), self)

    def __call__(self, engine: Engine) -> None:
        os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def undisturbed(train_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("undisturbed") / "run", **LENGTH)


@pytest.mark.parametrize(
    ("number", "iteration", "saved"), [(signal.SIGTERM, 3, 3), (signal.SIGUSR1, 4, 4), (signal.SIGTERM, 6, 6)]
)
def test_a_signal_ends_the_run_saved_and_it_goes_on(
    train_tiny: Callable[..., Path], undisturbed: Path, tmp_path: Path, number: int, iteration: int, saved: int
) -> None:
    """Inside an epoch, and in its last iteration, after which a validation comes."""
    former = signal.getsignal(number)
    with pytest.raises(RunStopped) as caught:
        train_tiny(tmp_path / "run", observers=(SignalAt(number, iteration),), **LENGTH)
    assert caught.value.code == STOPPED == 75
    assert signal.getsignal(number) == former
    assert last_weights(tmp_path / "run")["trainer"]["iteration"] == saved
    assert not (tmp_path / "run" / "models").exists()
    run = train_tiny(tmp_path / "run", **LENGTH)
    assert_same_tensors(last_weights(run), last_weights(undisturbed))
    assert history(run) == history(undisturbed)


def test_a_signal_in_the_last_iteration_comes_too_late_to_stop(
    train_tiny: Callable[..., Path], undisturbed: Path, tmp_path: Path
) -> None:
    run = train_tiny(tmp_path / "run", observers=(SignalAt(signal.SIGTERM, 8),), **LENGTH)
    assert_same_tensors(last_weights(run), last_weights(undisturbed))
    assert (run / "models" / "model.safetensors").is_file()


@pytest.mark.parametrize("threads", [1, 2])
def test_workers_of_the_loader_outlive_the_signal(
    train_tiny: Callable[..., Path], tmp_path: Path, threads: int
) -> None:
    """A queue signals every process of a job, and torch's workers would die of it and take the trainer with them."""

    class SignalAll(SignalAt):
        def __call__(self, engine: Engine) -> None:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            assert children
            subprocess.run(["kill", "-TERM", *children, str(os.getpid())], check=True)
            time.sleep(0.5)

    former = torch.get_num_threads()
    torch.set_num_threads(threads)  # a worker may then have threads of libraries before its first line is run
    try:
        with pytest.raises(RunStopped):
            train_tiny(tmp_path / "run", observers=(SignalAll(signal.SIGTERM, 2),), num_workers=1, **LENGTH)
    finally:
        torch.set_num_threads(former)
    assert last_weights(tmp_path / "run")["trainer"]["iteration"] == 2


def test_workers_end_when_their_parent_says_so() -> None:
    """Python ends the workers that are left at its exit by SIGTERM, and waits for them."""

    ready = multiprocessing.get_context("fork").Event()

    def work() -> None:
        ignore_stop_signals(0)
        ready.set()
        time.sleep(60)

    process = start(work)
    assert ready.wait(60)
    subprocess.run(["kill", "-TERM", str(process.pid)], check=True)
    process.join(0.5)
    assert process.is_alive()
    process.terminate()
    process.join(10)
    assert process.exitcode == 0


def test_a_signal_to_one_of_two_processes_stops_both(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    values = {**LENGTH, "device": "$torch.device('cpu')", "gpu": False}
    observers = (SignalAt(signal.SIGUSR1, 2, rank=1),)
    codes = together(2, lambda: train_tiny(tmp_path / "run", configs=(MULTI,), observers=observers, **values))
    assert codes == [STOPPED, STOPPED]
    assert last_weights(tmp_path / "run")["trainer"]["iteration"] == 2


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    """kill -9 at moments drawn over a stretch of the run; the checkpoint is always whole, the end the same."""
    values = {"steps": 6 * KILLS, "steps_per_epoch": 6, "val_interval": 3, "log_interval": 5, "checkpoint_interval": 1}
    values |= {"network::policy::mode": "gumbel", "freeze_groups_at": 0.7}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_tiny(whole, **values)
    last = cut / "checkpoints" / "last.pt"
    moments = random.Random(0)
    reached = []
    for _ in range(KILLS):
        before = last.stat().st_mtime_ns if last.is_file() else 0
        process = start(lambda: train_tiny(cut, **values))
        while process.is_alive() and not (last.is_file() and last.stat().st_mtime_ns > before):
            time.sleep(0.01)  # it has begun to train, or to go on
        time.sleep(moments.uniform(0, 0.15))
        assert process.is_alive(), "killed while it trains"
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        reached.append(torch.load(last, weights_only=True)["trainer"]["iteration"])
    assert reached == sorted(reached)
    assert KILLS <= reached[-1] < values["steps"]
    train_tiny(cut, **values)
    assert_same_tensors(last_weights(cut), last_weights(whole))
    assert_same_tensors(*(torch.load(r / "checkpoints" / "best.pt", weights_only=True) for r in (cut, whole)))
    assert history(cut) == history(whole)
    assert not list(cut.rglob(f"*{MARK}*")), "what a killed process left behind is gone"


def test_a_checkpoint_inside_an_epoch_is_what_an_interruption_goes_on_from(
    train_tiny: Callable[..., Path], undisturbed: Path, tmp_path: Path
) -> None:
    class Stop:
        def attach(self, engine: Engine) -> None:
            engine.add_event_handler(Events.ITERATION_STARTED(once=8), self)

        def __call__(self, engine: Engine) -> None:
            raise SfgMedError("test", "an end", "another", "none")

    values: dict[str, Any] = {**LENGTH, "checkpoint_interval": 3}
    with pytest.raises(SfgMedError):
        train_tiny(tmp_path / "run", observers=(Stop(),), **values)
    assert last_weights(tmp_path / "run")["trainer"]["iteration"] == 6
    run = train_tiny(tmp_path / "run", **values)
    assert_same_tensors(last_weights(run), last_weights(undisturbed))
