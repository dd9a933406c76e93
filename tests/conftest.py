# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real volumes; skips the test where they are absent."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: this test needs the real volumes")
    return SHARED


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six simulated patients with voxels of a centimetre; four train, one validates, one tests. Not to be changed."""
    from sfg_med.data.simulation.dataset import simulate_dataset

    folder = tmp_path_factory.mktemp("tiny") / "dataset"
    simulate_dataset(folder, 6, 0, spacing_mm=(10.0, 10.0, 10.0))
    return folder


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Overrides of configs/train.yaml for a network that trains in a second."""
    return {
        "network::channels": [4, 8],
        "network::strides": [2],
        "network::kernel_sizes": [3, 3],
        "patch_size": [32, 32, 16],
        "spacing_mm": [10.0, 10.0, 10.0],
        "steps": 4,
        "steps_per_epoch": 2,
        "val_interval": 1,
        "log_interval": 2,
        "num_workers": 0,
        "precision": "fp32",
        "device": "$torch.device('cpu')",
    }


@pytest.fixture(scope="session")
def train_tiny(tiny_dataset: Path, tiny: dict[str, Any]) -> Callable[..., Path]:
    """Train in this process: ``train_tiny(run_dir, steps=6)``; further configs go into ``configs``."""
    from sfg_med.training.runner import config_dir, train, training_workflow

    def run(run_dir: Path, configs: tuple[Path, ...] = (), observers: tuple[Any, ...] = (), **overrides: Any) -> Path:
        values = {**tiny, "dataset_dir": str(tiny_dataset), "run_dir": str(run_dir), **overrides}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is resolved to an importable callable.*")
            return train(training_workflow([config_dir() / "train.yaml", *configs], values), observers)

    return run


@pytest.fixture(scope="session")
def tiny_run(train_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished tiny run. Not to be changed."""
    return train_tiny(tmp_path_factory.mktemp("tiny_run") / "run")
