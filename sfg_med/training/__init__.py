# SPDX-License-Identifier: Apache-2.0
"""What the bundle's configs name: samples, engines' parts, handlers, and the steps around a run."""

from sfg_med.allocator import tune_allocator
from sfg_med.training.checkpoints import BestHandler, keep_checkpoints, run_trainer
from sfg_med.training.engine import PrecisionInferer, PrepareBatch, make_optimizer, one_cycle
from sfg_med.training.faces import EvenBatches, face_parts, whole_epochs
from sfg_med.training.group_changes import NoChanges, group_changes
from sfg_med.training.handlers import AttachHandler, CallHandler, GroupingHandler, HistoryHandler, ResumeHandler
from sfg_med.training.provenance import record_run
from sfg_med.training.samples import ResumableSampler, TrainingSamples
from sfg_med.training.setup import (
    count_epochs,
    grouping_schedule,
    prepare_run,
    training_parts,
    write_model,
)
from sfg_med.training.start import initial_settings, start_network
from sfg_med.training.steps import training_step
from sfg_med.training.stopping import LastingLoader
from sfg_med.training.tracking import mlflow_handler
from sfg_med.training.trajectories import TrajectoryHandler
from sfg_med.training.validation import validation_metrics

tune_allocator()  # a config imports this module before it makes a tensor

__all__ = [
    "AttachHandler",
    "BestHandler",
    "CallHandler",
    "EvenBatches",
    "GroupingHandler",
    "HistoryHandler",
    "LastingLoader",
    "NoChanges",
    "PrecisionInferer",
    "PrepareBatch",
    "ResumableSampler",
    "ResumeHandler",
    "TrainingSamples",
    "TrajectoryHandler",
    "count_epochs",
    "face_parts",
    "group_changes",
    "grouping_schedule",
    "initial_settings",
    "keep_checkpoints",
    "make_optimizer",
    "mlflow_handler",
    "one_cycle",
    "prepare_run",
    "record_run",
    "run_trainer",
    "start_network",
    "training_parts",
    "training_step",
    "validation_metrics",
    "whole_epochs",
    "write_model",
]
