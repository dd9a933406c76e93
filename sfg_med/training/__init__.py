# SPDX-License-Identifier: Apache-2.0
"""What the bundle's configs name: samples, engines' parts, handlers, and the steps around a run."""

from sfg_med.training.engine import PrecisionInferer, PrepareBatch, make_optimizer, one_cycle
from sfg_med.training.handlers import AttachHandler, CallHandler, GroupingHandler, HistoryHandler, ResumeHandler
from sfg_med.training.samples import ResumableSampler, TrainingSamples
from sfg_med.training.setup import grouping_schedule, keep_checkpoints, prepare_run, training_parts, write_model
from sfg_med.training.validation import validation_metrics

__all__ = [
    "AttachHandler",
    "CallHandler",
    "GroupingHandler",
    "HistoryHandler",
    "PrecisionInferer",
    "PrepareBatch",
    "ResumableSampler",
    "ResumeHandler",
    "TrainingSamples",
    "grouping_schedule",
    "make_optimizer",
    "one_cycle",
    "prepare_run",
    "keep_checkpoints",
    "training_parts",
    "validation_metrics",
    "write_model",
]
