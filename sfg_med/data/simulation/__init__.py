# SPDX-License-Identifier: Apache-2.0
"""Paired MR, CT, organ labels and tissues of simulated male pelvises; nothing in it comes from a real patient."""

from sfg_med.data.simulation.case import SimulatedCase, simulate_case
from sfg_med.data.simulation.dataset import DatasetResult, simulate_dataset
from sfg_med.data.simulation.tissues import TISSUE_NAMES

__all__ = ["TISSUE_NAMES", "DatasetResult", "SimulatedCase", "simulate_case", "simulate_dataset"]
