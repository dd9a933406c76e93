# SPDX-License-Identifier: Apache-2.0
"""What commands are given in their tests: a model, a volume, an environment; men to prepare, and the call."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sfg_med.cli.main import main
from sfg_med.data.simulation import simulate_case
from sfg_med.data.simulation.case import SimulatedCase
from sfg_med.model_file import save_model
from sfg_med.networks import build_network
from tests.cli.prediction import SPEC
from tests.cli.preparing import Prepare


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model with random weights."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, build_network(SPEC, where="test").eval(), SPEC, provenance={"made by": "a test"})
    return path


@pytest.fixture
def mr() -> np.ndarray:
    return np.random.default_rng(0).integers(50, 900, (22, 21, 12)).astype(np.int16)


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Run the entry point; return the exit code."""

    def call(source: Path, output: Path, *options: str) -> int:
        monkeypatch.setattr(sys, "argv", ["sfg-med", "prepare", "-i", str(source), "-o", str(output), *options])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0)

    return call


@pytest.fixture(scope="module")
def man() -> SimulatedCase:
    return simulate_case(2, (10.0, 10.0, 10.0))
