# SPDX-License-Identifier: Apache-2.0
"""Predict the numbers and classes of whole pictures, with one pass or the mean and mode of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.utils.data import default_collate

from sfg_med.inference.posterior import drawn_groups
from sfg_med.networks import MultiTaskNetwork
from sfg_med.spec import ANNOTATED, ClassTask, ModelSpec, ValueTask
from sfg_med.transforms import EncodePictured, decode_value

Row = dict[str, float]


@torch.inference_mode()
def score_pictures(
    network: MultiTaskNetwork,
    spec: ModelSpec,
    batches: Sequence[Sequence[dict[str, Any]]],
    *,
    samples: int = 1,
    seed: int = 0,
) -> dict[str, Row]:
    """Predict pictures and compare them with what is known of them.

    Args:
        network: in evaluation mode.
        spec: its specification.
        batches: items for :class:`sfg_med.transforms.EncodePictured`. With batch statistics at test time a prediction
            depends on its batch, so compare networks on the same batches.
        samples: passes. With one, the network predicts as it is; with more, each pass draws the kernels' groups, the
            same for all batches, and the prediction is the mean of a number and the mode of a class.
        seed: seed of the draws.

    Returns:
        Case to columns. Of a number: ``true_<task>``, ``<task>``, ``mae_<task>`` (the case's absolute error), in the
        task's unit. Of a class: ``true_<task>``, ``<task>`` (class numbers), ``probability_<class>`` of every class but
        the first, and ``accuracy_<task>`` (0 or 1). With several passes also ``std_<task>``, and
        ``mae_<task>_1pass`` and ``accuracy_<task>_1pass``: the mean over the passes of each pass's own error, so that
        what averaging brings can be told apart.
    """
    encode = EncodePictured(spec)
    device = next(network.parameters()).device
    rows: dict[str, Row] = {}
    for items in batches:
        batch = default_collate([encode(item) for item in items])
        outputs = torch.stack(list(_passes(network, batch[spec.input_name].to(device), samples, seed))).cpu()
        counts = list(spec.channels.values())
        parts = dict(zip(spec.channels, outputs[..., : sum(counts)].split(counts, dim=2), strict=True))
        found: dict[str, Tensor] = {}
        for task in spec.value_tasks:
            found |= _score_value(task, parts[task.name], batch)
        for choice in spec.class_tasks:
            found |= _score_class(choice, parts[choice.name], batch)
        for i, case in enumerate(batch["case"]):
            rows[case] = {name: float(values[i]) for name, values in found.items()}
    return rows


def _passes(network: MultiTaskNetwork, images: Tensor, samples: int, seed: int) -> Iterator[Tensor]:
    # a generator for each batch: pass s has the same groups in all of them
    generator = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        draw: AbstractContextManager[None] = drawn_groups(network, generator) if samples > 1 else nullcontext()
        with draw:
            yield network(images).float()


def _score_value(task: ValueTask, outputs: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Columns of a number from ``(S, B, 1)``."""
    values = decode_value(outputs[..., 0].double(), task)
    truth = _known(task.name, batch, decode_value(batch[task.name].double(), task))
    mean = values.mean(0)
    columns = {f"true_{task.name}": truth, task.name: mean, f"mae_{task.name}": (mean - truth).abs()}
    if len(values) > 1:
        columns |= {f"std_{task.name}": values.std(0), f"mae_{task.name}_1pass": (values - truth).abs().mean(0)}
    return columns


def _score_class(task: ClassTask, outputs: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Columns of a class from logits ``(S, B, C)``."""
    probabilities = outputs.double().softmax(2).mean(0)
    votes = one_hot(outputs.argmax(2), task.channels).double().mean(0)
    best = (votes + 1e-6 * probabilities).argmax(1).double()  # of classes with equal votes, the likelier one
    truth = _known(task.name, batch, batch[task.name].double())
    hit = torch.where(truth.isnan(), torch.nan, (best == truth).double())
    hits = torch.where(truth.isnan(), torch.nan, (outputs.argmax(2) == truth).double().mean(0))
    columns = {f"true_{task.name}": truth, task.name: best}
    columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(task.classes) if i}
    columns[f"accuracy_{task.name}"] = hit
    return columns | ({f"accuracy_{task.name}_1pass": hits} if len(outputs) > 1 else {})


def _known(name: str, batch: Mapping[str, Any], values: Tensor) -> Tensor:
    """``(B,)``, NaN where the case is not annotated."""
    return torch.where(batch[f"{name}{ANNOTATED}"][:, 0] > 0, values[:, 0], torch.nan)
