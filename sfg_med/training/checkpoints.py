# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: the last state, to go on from; the best network, to keep."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from torch import nn

from sfg_med.data.atomic import atomic_path, remove_leftovers
from sfg_med.errors import SfgMedError
from sfg_med.training.stopping import RunStopped, StopSignals, at_epoch_end

logger = logging.getLogger(__name__)
BEST, LAST = "best.pt", "last.pt"


class BestHandler:
    """Save the network whenever a validation has the highest score so far, over interruptions of the run as well.

    MONAI's own saver starts anew after a resumption, and the first validation then replaces a better network.

    Args:
        ckpt_dir: folder of ``best.pt``.
        network: the network.
        metric: name of the score.
    """

    def __init__(self, ckpt_dir: str, network: nn.Module, metric: str = "score") -> None:
        self.path, self.network, self.metric = Path(ckpt_dir) / BEST, network, metric
        self.best = -float("inf")

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Compare the validation that has just finished; a score that is no number never wins."""
        score = float(engine.state.metrics[self.metric])
        if not score > self.best:
            return
        self.best = score
        if idist.get_rank() == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.path) as temporary:
                torch.save(self.network.state_dict(), temporary)

    def state_dict(self) -> dict[str, float]:
        """The highest score."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from a highest score."""
        self.best = float(state["best"])


def keep_checkpoints(
    ckpt_dir: str, state: Mapping[str, Any], device: torch.device, resume: bool, interval: int | None = None
) -> None:
    """Save the whole state of the run after every epoch, and go on from the last one saved.

    A signal to stop (:class:`sfg_med.training.stopping.StopSignals`) ends the run after the iteration, saved.
    Kept out of the trainer's own handlers in the config, since the saved state holds the trainer itself.

    Args:
        ckpt_dir: folder of the checkpoints.
        state: what to save and restore by name; ``"trainer"`` is the trainer.
        device: where tensors are loaded to.
        resume: whether to load the checkpoint; without, those of an earlier run are removed.
        interval: iterations between two checkpoints inside an epoch; ``None`` for none.

    Raises:
        SfgMedError: for a checkpoint that is damaged or of another network.
    """
    last, trainer = Path(ckpt_dir) / LAST, state["trainer"]
    if resume and last.is_file():
        _restore(last, state, device)
    if idist.get_rank() == 0:
        for name in (LAST, BEST):
            remove_leftovers(last.with_name(name))
            if not resume:
                last.with_name(name).unlink(missing_ok=True)
    save = _Saver(last, state)
    if interval:
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=interval), save.inside)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, save)
    StopSignals(save.inside).attach(trainer)


class _Saver:
    """Writes the checkpoint, in the first process only."""

    def __init__(self, path: Path, state: Mapping[str, Any]) -> None:
        self.path, self.state, self.saved = path, dict(state), -1

    def __call__(self, engine: Engine) -> None:
        """Save the state as it is."""
        if idist.get_rank() == 0:
            with atomic_path(self.path) as temporary:
                torch.save({name: part.state_dict() for name, part in self.state.items()}, temporary)

    def inside(self, engine: Engine) -> None:
        """Save inside an epoch; at its end, what belongs to it, such as a validation, must come first."""
        if not at_epoch_end(engine) and self.saved != engine.state.iteration:
            self.saved = engine.state.iteration
            self(engine)


def _restore(path: Path, state: Mapping[str, Any], device: torch.device) -> None:
    trainer: Engine = state["trainer"]
    remedy = "remove it, or start again with resume=false or another --run-dir"
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        raise SfgMedError(path, "a readable checkpoint", f"a damaged one ({_line(error)})", remedy) from error
    try:
        # The length of the run is what the config says now, so that a finished run can be made longer.
        length = {"max_epochs": trainer.state.max_epochs, "epoch_length": trainer.state.epoch_length}
        checkpoint["trainer"] = {**checkpoint["trainer"], **length}
        Checkpoint.load_objects(to_load={k: v for k, v in state.items() if k in checkpoint}, checkpoint=checkpoint)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SfgMedError(path, "a checkpoint of this config", _line(error), remedy) from error
    logger.info("resumed from %s at iteration %d", path, trainer.state.iteration)


def run_trainer(trainer: Engine) -> None:
    """Train to the end; of a run that has reached its end already, only what follows it (the model file) is repeated.

    Ignite would start a finished run from iteration 0 again, with the trained weights.

    Raises:
        RunStopped: if a signal ended it before; the same call goes on.
    """
    done = (trainer.state.epoch_length or 0) * (trainer.state.max_epochs or 0)
    if trainer.state.iteration >= done:
        logger.warning("this run is complete: %d of %d iterations", trainer.state.iteration, done)
        trainer.fire_event(Events.COMPLETED)
        return
    trainer.run()
    if trainer.state.iteration < done:
        raise RunStopped(trainer.state.iteration, done)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
