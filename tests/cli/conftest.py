# SPDX-License-Identifier: Apache-2.0
"""What ``sfg-med predict`` is given in its tests: a model, a volume, an environment."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sfg_med.model_file import save_model
from sfg_med.networks import build_network
from tests.cli.prediction import SPEC


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
