# SPDX-License-Identifier: Apache-2.0
"""A stand-in model that copies its input, and images whose content has a known place in the world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from sfg_med.spec import ImageTask, LabelTask, ModelSpec


class CopyNetwork(nn.Module):
    """Image channel: the input. Label ``blob``: where the input is above a level."""

    def __init__(self, level: float = 1.0) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = 4.0 * (x - self.level)
        return torch.cat([x, torch.zeros_like(x), inside], dim=1)


class NoisyNetwork(CopyNetwork):
    """Adds a number that is drawn once for each posterior sample."""

    def __init__(self, level: float = 1.0) -> None:
        super().__init__(level)
        self.shift = 0.0
        self.drawn: list[float] = []

    @contextmanager
    def posterior_draw(self, generator: torch.Generator) -> Iterator[None]:
        self.shift = float(torch.randn((), generator=generator))
        self.drawn.append(self.shift)
        try:
            yield
        finally:
            self.shift = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + self.shift)


@dataclass
class StandIn:
    """What ``load_model`` returns, as far as inference uses it."""

    network: nn.Module
    spec: ModelSpec
    sha256: str = "0" * 64
    path: Path = Path("standin.safetensors")
    metadata: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def standin() -> Callable[..., StandIn]:
    """Factory of stand-in models."""

    def make(network: nn.Module | None = None, **spec: Any) -> StandIn:
        tasks = (
            ImageTask(scale=100.0, value_range=(-1000.0, 3000.0), fill=-1000.0),
            LabelTask(labels={"blob": 7}),
        )
        values = {"tasks": tasks, "spacing_mm": (2.0, 2.0, 2.0), "patch_size": (32, 32, 32), **spec}
        return StandIn((network or CopyNetwork()).eval(), ModelSpec(**values))

    return make


@pytest.fixture(scope="session")
def noisy_network() -> type[NoisyNetwork]:
    """Class of the stochastic stand-in."""
    return NoisyNetwork


@pytest.fixture(scope="session")
def save_nifti() -> Callable[..., Path]:
    """Write an array as NIfTI with chosen sform and qform codes."""

    def save(path: Path, array: np.ndarray, affine: np.ndarray, sform: int = 1, qform: int = 1) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(array, None)
        image.header.set_zooms((*np.linalg.norm(affine[:3, :3], axis=0), *[1.0] * (array.ndim - 3)))
        if qform:
            image.header.set_qform(affine, qform, strip_shears=True)
        if sform:
            image.header.set_sform(affine, sform)
        nib.save(nib.Nifti1Image(array, None, image.header), path)
        return path

    return save


@pytest.fixture(scope="session")
def blob_image() -> Callable[..., np.ndarray]:
    """Gaussian blob on a grey ground, int16; it is so wide that the normalisation clips nothing."""

    def make(shape: tuple[int, int, int], shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
        size = np.reshape(shape, (3, 1, 1, 1))
        middle = (size - 1) / 2 + np.reshape(shift, (3, 1, 1, 1)) * size
        distance = (np.indices(shape) - middle) / (size / 4.5)
        return np.rint(200 + 800 * np.exp(-0.5 * (distance**2).sum(0))).astype(np.int16)

    return make
