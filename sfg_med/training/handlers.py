# SPDX-License-Identifier: Apache-2.0
"""Ignite handlers: the groups' schedule, exact resumption, the run's history, the finished model."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer

from sfg_med.data.atomic import atomic_path, write_json
from sfg_med.errors import SfgMedError
from sfg_med.losses import JointLoss
from sfg_med.networks import MultiTaskNetwork
from sfg_med.sharing import GroupingSchedule, mean_entropy
from sfg_med.sharing.distribution import GroupDistribution
from sfg_med.training.samples import ResumableSampler


class GroupingHandler:
    """Set the groups' temperature and the random state at every iteration, both functions of its number.

    Args:
        network: the network.
        schedule: what to do when.
        seed: seed of the draws.
        draws: ``"own"``: every process, and every batch that a step accumulates, draws its own noise; ``"common"``: all
            have the same, so that a step is that of one process with one batch.

    Raises:
        SfgMedError: for another word.
    """

    def __init__(
        self, network: MultiTaskNetwork, schedule: GroupingSchedule, seed: int = 0, draws: str = "own"
    ) -> None:
        if draws not in ("own", "common"):
            raise SfgMedError("draws", "own or common", repr(draws), "choose one of them")
        self.network, self.schedule, self.seed, self.draws = network, schedule, seed, draws

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)
        engine.add_event_handler(IterationEvents.INNER_ITERATION_STARTED, self.again)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self.rest)

    def __call__(self, engine: Engine) -> None:
        """Prepare the iteration that starts."""
        self.schedule.apply(self.network, engine.state.iteration - 1)
        rank = idist.get_rank() if self.draws == "own" else 0
        torch.manual_seed((self.seed * 1_000_003 + engine.state.iteration) * 1009 + rank)

    def again(self, engine: Engine) -> None:
        """Before a further batch of the same step: common draws start anew, own ones go on."""
        if self.draws == "common":
            self(engine)

    def rest(self, engine: Engine) -> None:
        """Leave the probabilities of frozen groups as they are.

        Their gradient is zero, but the optimiser's momentum would move them on, and some kernels' likeliest group would
        no longer be the one they are frozen in.
        """
        if self.schedule.freeze_at is not None and engine.state.iteration > self.schedule.freeze_at:
            for module in self.network.modules():
                if isinstance(module, GroupDistribution):
                    module.rho.grad = None


class ResumeHandler:
    """Start the samples where the loaded checkpoint stopped, also with another number of processes or samples a step.

    Args:
        sampler: the loader's sampler.
        batch_size: samples of an iteration in one process.
    """

    def __init__(self, sampler: ResumableSampler, batch_size: int) -> None:
        self.sampler, self.batch_size = sampler, batch_size
        self.origin = (0, 0)  # an iteration, and the samples that had been trained on then

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        self.trainer = engine
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Skip what was trained on already."""
        total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        self.sampler.start = self.seen(engine.state.iteration)
        self.sampler.length = self.seen(total)

    def seen(self, iteration: int) -> int:
        """Samples of all processes up to the end of an iteration."""
        start, samples = self.origin
        return samples + (iteration - start) * self.batch_size * idist.get_world_size()

    def state_dict(self) -> dict[str, int]:
        """What was trained on so far."""
        return {"iteration": self.trainer.state.iteration, "samples": self.seen(self.trainer.state.iteration)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from :meth:`state_dict`."""
        self.origin = (state["iteration"], state["samples"])


class HistoryHandler:
    """Write ``history.csv`` (losses, learning rate, validation metrics) and ``groups.json`` (shares by layer).

    Args:
        run_dir: folder of the run.
        network: the network.
        loss: its parts are logged.
        trainer: gives the iteration when attached to an evaluator.
        every: iterations between two rows of training figures; they are means over the interval.
    """

    FIELDS = ("step", "split", "name", "value")

    def __init__(
        self,
        run_dir: str,
        network: MultiTaskNetwork,
        loss: JointLoss,
        trainer: SupervisedTrainer | None = None,
        every: int = 20,
    ) -> None:
        self.folder = Path(run_dir)
        self.network, self.loss, self.trainer, self.every = network, loss, trainer, every
        self.sums: dict[str, float] = {}
        self.shares: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, or with an evaluator; only the first process writes."""
        if idist.get_rank():
            return
        if isinstance(engine, SupervisedEvaluator):
            engine.add_event_handler(Events.COMPLETED, self.validated)
            return
        self.trainer = engine  # type: ignore[assignment]
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.iterated)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.grouped)
        engine.add_event_handler(Events.COMPLETED, self.grouped)

    @property
    def step(self) -> int:
        """Iterations done so far."""
        if self.trainer is None:
            raise RuntimeError("attach the handler to the trainer first, or give it the trainer")
        return self.trainer.state.iteration

    def started(self, engine: Engine) -> None:
        """Drop what an interrupted run wrote after its last checkpoint."""
        path = self.folder / "history.csv"
        rows: list[dict[str, str]] = []
        if path.is_file() and engine.state.iteration:
            with path.open(newline="") as file:
                rows = [r for r in csv.DictReader(file) if int(r["step"]) <= engine.state.iteration]
        with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.FIELDS)
            writer.writeheader()
            writer.writerows(rows)
        if not engine.state.iteration:
            self.grouped(engine)

    def state_dict(self) -> dict[str, Any]:
        """Sums since the last row, for a run that is interrupted between two rows."""
        return {"sums": dict(self.sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the sums of :meth:`state_dict`."""
        self.sums = dict(state["sums"])

    def iterated(self, engine: Engine) -> None:
        """Add up the losses; write their means now and then."""
        for name, value in {"loss": engine.state.output["loss"].item(), **self.loss.last}.items():  # type: ignore[index]
            self.sums[name] = self.sums.get(name, 0.0) + value
        if engine.state.iteration % self.every:
            return
        rates = [g["lr"] for g in engine.optimizer.param_groups]  # type: ignore[attr-defined]
        extra = {
            "learning_rate": rates[0],
            "temperature": self.network.policy.temperature,
            "entropy": mean_entropy(self.network.group_probabilities()),
        }
        self.write("train", {**{k: v / self.every for k, v in self.sums.items()}, **extra})
        self.sums = {}

    def validated(self, engine: Engine) -> None:
        """Write the metrics of a validation."""
        self.write("validation", {k: float(v) for k, v in engine.state.metrics.items()})

    def write(self, split: str, values: dict[str, float]) -> None:
        """Append rows to the history."""
        step = self.step
        with (self.folder / "history.csv").open("a", newline="") as file:
            csv.writer(file).writerows([step, split, name, f"{value:.6g}"] for name, value in values.items())

    def grouped(self, engine: Engine) -> None:
        """Write the mean group probabilities of each layer."""
        path = self.folder / "groups.json"
        if not self.shares:
            probabilities = self.network.group_probabilities()
            self.shares = {
                "groups": list(self.network.groups.names),
                "layers": list(probabilities),
                "kernels": [len(p) for p in probabilities.values()],
                "steps": [],
                "shares": [],
            }
            if path.is_file() and engine.state.iteration:
                self._restore(path, engine.state.iteration)
        step = engine.state.iteration
        if self.shares["steps"][-1:] == [step]:
            return
        means = [p.detach().mean(0).tolist() for p in self.network.group_probabilities().values()]
        self.shares["steps"].append(step)
        self.shares["shares"].append(means)
        write_json(path, self.shares)

    def _restore(self, path: Path, step: int) -> None:
        old = json.loads(path.read_text())
        kept = [i for i, s in enumerate(old["steps"]) if s < step]
        self.shares["steps"] = [old["steps"][i] for i in kept]
        self.shares["shares"] = [old["shares"][i] for i in kept]


class AttachHandler:
    """Attach one handler to several engines; MONAI's property check wants every handler of a config to be a mapping.

    Args:
        handler: the handler.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        self.handler.attach(engine)


class CallHandler:
    """Call a function when training has finished, such as the one that writes the model file.

    Args:
        function: what to call.
        event: when.
    """

    def __init__(self, function: Callable[[], None], event: str = "COMPLETED") -> None:
        self.function, self.event = function, getattr(Events, event)

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.add_event_handler(self.event, lambda _: self.function())
