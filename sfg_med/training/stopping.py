# SPDX-License-Identifier: Apache-2.0
"""A run that is told to stop finishes its iteration, saves, and ends with an exit code that means "start me again".

Queues announce the end of a job by a signal: SIGTERM when it is preempted or cancelled, and ahead of the time limit
what the job asked for, usually SIGUSR1.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader
from torch.utils.data import Dataset

logger = logging.getLogger(__name__)
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: not done, try again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class RunStopped(SystemExit):
    """Ends the process with exit code 75. No error of a library on the way may take its place.

    Args:
        iteration: iterations that are done and saved.
        total: iterations of the run.
    """

    def __init__(self, iteration: int, total: int) -> None:
        super().__init__(STOPPED)
        self.iteration, self.total = iteration, total

    def __str__(self) -> str:
        return f"stopped by a signal after {self.iteration} of {self.total} iterations; the same call goes on"


class StopSignals:
    """End a run at the end of the iteration in which some process got a signal.

    At the end of an epoch the validation comes first, since a run that goes on would not make it up.

    Args:
        save: called with the trainer before the run ends inside an epoch.
    """

    def __init__(self, save: Callable[[Engine], None]) -> None:
        self.save, self.received = save, 0
        self.former: dict[int, Any] = {}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after what belongs to an iteration or epoch."""
        engine.add_event_handler(Events.STARTED, self.listen)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.inside)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.look)
        for event in (Events.TERMINATE, Events.COMPLETED, Events.EXCEPTION_RAISED):
            engine.add_event_handler(event, self.release)

    def listen(self, engine: Engine) -> None:
        """Take the signals; only a main thread can."""
        if threading.current_thread() is threading.main_thread():
            self.former = {number: signal.signal(number, self._note) for number in SIGNALS}

    def inside(self, engine: Engine) -> None:
        """Look inside an epoch."""
        if not at_epoch_end(engine):
            self.look(engine)

    def look(self, engine: Engine) -> None:
        """End the run if any process got a signal, unless it is at its end anyway."""
        done = engine.state.epoch == engine.state.max_epochs and at_epoch_end(engine)
        if done or not self._agreed(engine):
            return
        self.save(engine)
        logger.warning("signal %d: stopping after iteration %d", self.received, engine.state.iteration)
        engine.terminate(skip_completed=True)

    def release(self, engine: Engine, *error: BaseException) -> None:
        """Give the signals back."""
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}
        if error:
            raise error[0]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number

    def _agreed(self, engine: Engine) -> bool:
        if idist.get_world_size() > 1:
            here = torch.tensor(float(self.received), device=idist.device())
            self.received = int(torch.as_tensor(idist.all_reduce(here, "MAX")))
        return self.received > 0


def at_epoch_end(engine: Engine) -> bool:
    """Whether the iteration is the last one of its epoch."""
    return engine.state.iteration % (engine.state.epoch_length or 1) == 0


class LastingLoader(DataLoader):
    """MONAI's loader, whose workers outlive the signals: queues send them to all processes of a job.

    The signals are blocked while the workers are made, since a mask is inherited: it then holds for all threads of a
    worker, also for those that libraries start before ``worker_init_fn`` is called.

    Args:
        dataset: what is loaded.
        **options: as MONAI's loader takes them.
    """

    def __init__(self, dataset: Dataset[Any], **options: Any) -> None:
        super().__init__(dataset, worker_init_fn=ignore_stop_signals, **options)

    def __iter__(self) -> Any:
        former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)


def ignore_stop_signals(worker: int) -> None:
    """``worker_init_fn`` of :class:`LastingLoader`.

    Only what the training process itself sends ends the worker, as Python does with the workers that it leaves behind.

    Args:
        worker: its number.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _obey(parent: int) -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != parent:
        pass
    os._exit(0)
