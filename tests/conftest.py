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


@pytest.fixture(scope="session")
def noise_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 80 generated images named as faces, and one that is misnamed. Not to be changed.

    Stripes in noise: upright ones are "male"; the older, the finer.
    """
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("noise") / "faces"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(80):
        age, gender = int(random.integers(1, 100)), number % 2
        wave = 90 * np.sin(np.arange(32) * (2 + age / 10) * 2 * np.pi / 32)
        pattern = 128 + (wave[None] if gender == 0 else wave[:, None])
        pixels = (pattern[..., None] + random.normal(0, 20, (32, 32, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{age}_{gender}_0_20170101{number:09d}.jpg", quality=95)
    Image.fromarray(pixels).save(folder / "61_1_20170109142408075.jpg.chip.jpg")
    return folder
