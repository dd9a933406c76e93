# SPDX-License-Identifier: Apache-2.0
"""Stopping a run in the middle of an iteration."""

from __future__ import annotations

from ignite.engine import Engine, Events


class Interruption(KeyboardInterrupt):
    """Stands for Ctrl-C or a power cut."""


class InterruptAt:
    """Stop a run in the middle of an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED(once=self.iteration), self)

    def __call__(self, engine: Engine) -> None:
        raise Interruption
