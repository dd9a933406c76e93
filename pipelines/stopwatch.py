# SPDX-License-Identifier: Apache-2.0
"""Wall time of a training, over interruptions as well."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ignite.engine import Engine, Events

from sfg_med.data.atomic import write_json

FILE = "seconds.json"


class Stopwatch:
    """Adds up the seconds of a training's epochs, validation included.

    What is trained again after a kill, because it came after the last checkpoint, counts once.

    Args:
        folder: the run's folder; ``seconds.json`` there keeps the sum.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.seconds, self.start = 0.0, 0.0

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self.started)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.completed)

    def started(self, engine: Engine) -> None:
        """Go on from what was measured up to the checkpoint that the trainer starts from."""
        self.seconds = read_seconds(self.path.parent) if engine.state.iteration else 0.0
        self.start = time.perf_counter()

    def completed(self, engine: Engine) -> None:
        """Write the sum down with every checkpoint."""
        now = time.perf_counter()
        self.seconds += now - self.start
        self.start = now
        write_json(self.path, {"step": engine.state.iteration, "seconds": self.seconds})


def read_seconds(folder: Path) -> float:
    """Seconds of a run so far; 0 where nothing was measured."""
    try:
        return float(json.loads((folder / FILE).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
