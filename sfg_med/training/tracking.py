# SPDX-License-Identifier: Apache-2.0
"""Runs in MLflow's local store, beside TensorBoard's files, for those who ask for it (``mlflow: true``)."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monai.handlers import MLFlowHandler
from monai.handlers import mlflow_handler as monai_mlflow

from sfg_med.errors import SfgMedError
from sfg_med.training.handlers import HistoryHandler
from sfg_med.training.provenance import CONFIG, RUN

DATABASE = "mlflow.db"


def mlflow_handler(run_dir: str, history: HistoryHandler, *, trains: bool, every: int = 20) -> MLFlowHandler:
    """MONAI's handler with ``mlflow.db`` (SQLite) in the run's folder as its store; nothing leaves the machine.

    Losses and metrics carry the iteration as their step. A run that was interrupted stays one run;
    one that is made longer after its end becomes a second one, since MLflow closes what has ended.
    ``$MLFLOW_TRACKING_URI`` names another store.

    Args:
        run_dir: folder of the run.
        history: knows the iteration.
        trains: for the trainer, which also stores ``run.json`` and ``config.json``; else for the evaluator.
        every: iterations between two losses.

    Raises:
        SfgMedError: if MLflow is not installed.
    """
    if find_spec("mlflow") is None or find_spec("sqlalchemy") is None:
        remedy = "pip install 'sfg-med[mlflow]', or use mlflow=false"
        raise SfgMedError("mlflow", "the package mlflow with its SQLite store", "it is not installed", remedy)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    folder = Path(run_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    own: dict[str, Any] = {"epoch_log": True, "iteration_log": False, "global_epoch_transform": lambda _: history.step}
    if trains:
        own = {"epoch_log": False, "iteration_log": lambda _, iteration: iteration % every == 0}
        own |= {"artifacts": [str(folder / RUN), str(folder / CONFIG)]}
    # the command line hid MLflow from MONAI (sfg_med.lean_import)
    handler: type[MLFlowHandler] = importlib.reload(monai_mlflow).MLFlowHandler
    return handler(
        tracking_uri=f"sqlite:///{folder / DATABASE}",
        experiment_name="sfg_med",
        run_name=folder.name,
        tag_name="loss",
        output_transform=lambda output: output["loss"],
        close_on_complete=trains,
        **own,
    )
