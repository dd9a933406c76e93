# SPDX-License-Identifier: Apache-2.0
"""Trainings in double precision: Adam makes a whole step of the rounding of a gradient near zero."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from sfg_med.training.engine import PrepareBatch


class InDouble(PrepareBatch):
    """Images in double precision."""

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        image, targets = super().__call__(*args, **kwargs)
        return image.double(), {k: v.double() if torch.is_tensor(v) else v for k, v in targets.items()}


# Lay it over the overrides of a training.
IN_DOUBLE = {"prepare_batch": {"_target_": f"{__name__}.InDouble", "input_name": "@input_name"}}


@contextmanager
def double_precision() -> Iterator[None]:
    """Networks are made, and losses are taken, in double precision."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float)
