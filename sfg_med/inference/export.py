# SPDX-License-Identifier: Apache-2.0
"""Deployable forms of a model, each compared with the original before it is kept."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfg_med.data.atomic import atomic_path
from sfg_med.errors import SfgMedError
from sfg_med.model_file import LoadedModel, load_model, save_model
from sfg_med.networks import MultiTaskNetwork

# Largest difference to the original's output, as a part of its largest value.
TOLERANCE = 1e-4
Program = Callable[[Tensor], Tensor]


def export_model(model: LoadedModel, path: Path, kind: str, task: str | None = None) -> float:
    """Write a model in another form.

    Args:
        model: the model.
        path: file to write.
        kind: ``"compact"`` (an sfg-med model file), ``"pt2"`` (torch.export), ``"onnx"`` or ``"torchscript"``; all
            but the first take windows of ``spec.patch_size``.
        task: keep one task only.

    Returns:
        Largest difference to the original's output on a random window, relative to its largest value.

    Raises:
        SfgMedError: for an unknown form or task, a missing package, or a result that differs.
    """
    if kind not in FORMATS:
        raise SfgMedError("--format", " or ".join(FORMATS), repr(kind), "choose one of them")
    network = model.network
    if task is not None and task not in network.tasks:
        raise SfgMedError("--task", " or ".join(network.tasks), repr(task), "choose one of them")
    if kind == "compact" and model.metadata.get("compact"):
        raise SfgMedError(model.path, "a trained model", "one that is compact already", "use it, or another --format")
    try:
        compact = network.compact(task)
    except ValueError as error:
        raise SfgMedError(model.path, "a network that has a compact form", str(error), "see above") from error
    channels = network.example_input().shape[1]
    example = torch.randn(1, channels, *model.spec.patch_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), atomic_path(path) as temporary:
        expected = _likeliest(network)(example)
        if task is not None:
            expected = network.split(expected)[task]
        program = FORMATS[kind](model, compact, example, temporary, task)
        difference = ((program(example) - expected).abs().max() / expected.abs().max()).item()
        if not difference <= TOLERANCE:
            found = f"a relative difference of {difference:.1e}"
            raise SfgMedError(
                path, f"the output of the original to {TOLERANCE:.0e}", found, "report this; nothing was kept"
            )
    return difference


def _likeliest(network: MultiTaskNetwork) -> MultiTaskNetwork:
    """The network with every kernel in its likeliest group, also where predictions draw them."""
    decided = copy.deepcopy(network)
    decided.policy.eval_mode = "argmax"
    return decided


def _compact(model: LoadedModel, _: MultiTaskNetwork, __: Tensor, path: Path, task: str | None) -> Program:
    provenance = model.metadata["provenance"]
    save_model(path, model.network, model.spec, compact=True, task=task, provenance=provenance)
    return load_model(path).network


def _pt2(_: LoadedModel, network: MultiTaskNetwork, example: Tensor, path: Path, __: str | None) -> Program:
    torch.export.save(torch.export.export(network, (example,)), path)
    return torch.export.load(path).module()


def _torchscript(_: LoadedModel, network: MultiTaskNetwork, example: Tensor, path: Path, __: str | None) -> Program:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and MONAI Deploy still wants it
        torch.jit.save(torch.jit.trace(network, example), path)
        return torch.jit.load(path)


def _onnx(_: LoadedModel, network: MultiTaskNetwork, example: Tensor, path: Path, __: str | None) -> Program:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise SfgMedError(
            "--format onnx", "the package " + str(error.name), "none", "pip install 'sfg-med[export]'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (example,), path, dynamo=True, external_data=False, verbose=False)
    session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


FORMATS = {"compact": _compact, "pt2": _pt2, "onnx": _onnx, "torchscript": _torchscript}
