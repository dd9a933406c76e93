# SPDX-License-Identifier: Apache-2.0
"""Deployable forms of a model, each compared with the original before it is kept."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sfg_med.data.atomic import atomic_path
from sfg_med.data.cases import Case
from sfg_med.devices import choose_device, choose_precision
from sfg_med.errors import SfgMedError
from sfg_med.inference.difference import Difference, compare_predictions
from sfg_med.inference.predictor import Predictor
from sfg_med.model_file import LoadedModel, load_model, save_model
from sfg_med.networks import MultiTaskNetwork
from sfg_med.networks.cost import network_cost

# Largest difference to the original's output, as a part of its largest value.
TOLERANCE = 1e-4
Program = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Exported:
    """What became of a model.

    Args:
        difference: largest difference of the file's output to that of the network it was made from, on a random window,
            relative to its largest value.
        parameters: of the exported form, and of the compact form of all tasks.
        gflop: arithmetic of a window, of the same two.
        moved: kernels that changed sides so that the groups' sizes suit processors.
        kernels: all kernels with groups.
        checks: name of a change (``rounding``, ``bf16``, the form itself) to what it costs, where cases were given.
        seconds: of a window on the CPU, of the file and of the network it was made from; the best of three.
    """

    difference: float
    parameters: tuple[int, int]
    gflop: tuple[float, float]
    moved: int
    kernels: int
    checks: dict[str, Difference]
    seconds: tuple[float, float]


def export_model(
    model: LoadedModel, path: Path, kind: str, task: str | None = None, cases: Sequence[Case] = ()
) -> Exported:
    """Write a model in another form.

    With cases at hand group sizes are rounded to what processors like, if the predictions stay what they are
    (:attr:`Difference.accepted`), it is measured what bf16 changes, and the file predicts the cases as the original
    does, window by window, or is not kept.

    Args:
        model: the model.
        path: file to write.
        kind: ``"compact"`` (an sfg-med model file), ``"pt2"`` (torch.export), ``"onnx"`` or ``"torchscript"``; all
            but the first take windows of ``spec.patch_size``.
        task: keep one task only.
        cases: to measure on, such as the validation cases.

    Returns:
        What was done.

    Raises:
        SfgMedError: for an unknown form or task, a missing package, or a result that differs.
    """
    if kind not in FORMATS:
        raise SfgMedError("--format", " or ".join(FORMATS), repr(kind), "choose one of them")
    if task is not None and task not in model.network.tasks:
        raise SfgMedError("--task", " or ".join(model.network.tasks), repr(task), "choose one of them")
    if kind == "compact" and model.metadata.get("compact"):
        raise SfgMedError(model.path, "a trained model", "one that is compact already", "use it, or another --format")
    checks: dict[str, Difference] = {}
    moved, original = 0, model
    try:
        if cases:
            model, moved = _rounded(model, cases, checks)
            if choose_precision("auto", choose_device("cpu")) == "bf16":
                checks["bf16"] = compare_predictions(_predictor(model), _predictor(model, "bf16"), cases)
        whole, compact = model.network.compact(), model.network.compact(task)
    except ValueError as error:
        raise SfgMedError(model.path, "a network that has a compact form", str(error), "see above") from error
    channels = model.network.example_input().shape[1]
    shape = (1, channels, *model.spec.patch_size)
    example = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), atomic_path(path) as temporary:
        before = _likeliest(model.network, task)
        expected = before(example)
        made = Making(model, compact, example, temporary, task, {k: v.to_dict() for k, v in checks.items()})
        program = FORMATS[kind](made)
        difference = ((program(example) - expected).abs().max() / expected.abs().max()).item()
        if not difference <= TOLERANCE:
            found = f"a relative difference of {difference:.1e}"
            raise SfgMedError(
                path, f"the output of the original to {TOLERANCE:.0e}", found, "report this; nothing was kept"
            )
        if cases:
            checks[kind] = _check(path, original, program, task, cases)
        seconds = _seconds(program, example), _seconds(before, example)
    costs = [network_cost(network, shape) for network in (compact, whole)]
    kernels = sum(len(a) for a in model.network.assignments().values())
    parameters, gflop = zip(*costs, strict=True)
    return Exported(difference, parameters, gflop, moved, kernels, checks, seconds)


def _rounded(model: LoadedModel, cases: Sequence[Case], checks: dict[str, Difference]) -> tuple[LoadedModel, int]:
    """The model with rounded group sizes, if that leaves its predictions as they are."""
    network = copy.deepcopy(model.network)
    moved = network.round_groups()
    if not moved:
        return model, 0
    rounded = replace(model, network=network)
    checks["rounding"] = compare_predictions(_predictor(model), _predictor(rounded), cases)
    return (rounded, moved) if checks["rounding"].accepted else (model, 0)


def _predictor(model: LoadedModel, precision: str = "fp32") -> Predictor:
    return Predictor(replace(model, network=model.network.compact()), device="cpu", precision=precision)


def _likeliest(network: MultiTaskNetwork, task: str | None = None) -> Program:
    """The network with every kernel in its likeliest group, also where predictions draw them."""
    decided = copy.deepcopy(network)
    decided.policy.eval_mode = "argmax"
    return decided if task is None else lambda windows: decided.split(decided(windows))[task]


class _ProgramNetwork(nn.Module):
    """A program where a predictor wants a network; not registered, as exported programs know no ``eval()``."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.run = (program,)

    def forward(self, windows: Tensor) -> Tensor:
        return self.run[0](windows)


def _check(path: Path, model: LoadedModel, program: Program, task: str | None, cases: Sequence[Case]) -> Difference:
    """Predict the cases with the original and with the file.

    Raises:
        SfgMedError: if they differ by more than is allowed.
    """
    spec = replace(model.spec, tasks=tuple(t for t in model.spec.tasks if task in (None, t.name)))
    both: list[Any] = [_ProgramNetwork(p) for p in (_likeliest(model.network, task), program)]
    before, after = (
        Predictor(replace(model, network=network, spec=spec), device="cpu", precision="fp32") for network in both
    )
    found = compare_predictions(before, after, cases)
    if not found.accepted:
        raise SfgMedError(path, "predictions within 1 HU and 0.001 Dice", str(found), "report this; nothing was kept")
    return found


def _seconds(program: Program, example: Tensor, repeats: int = 3) -> float:
    def once() -> float:
        start = time.perf_counter()
        program(example)
        return time.perf_counter() - start

    return min(once() for _ in range(repeats))


@dataclass(frozen=True)
class Making:
    """All that writing a form needs: the model, its compact network, an input, the file, the task, the checks."""

    model: LoadedModel
    network: MultiTaskNetwork
    example: Tensor
    path: Path
    task: str | None
    checks: dict[str, Any]


def _compact(made: Making) -> Program:
    model, provenance = made.model, made.model.metadata["provenance"]
    options: dict[str, Any] = {"task": made.task, "provenance": provenance, "checks": made.checks}
    save_model(made.path, model.network, model.spec, compact=True, **options)
    return load_model(made.path).network


def _pt2(made: Making) -> Program:
    torch.export.save(torch.export.export(made.network, (made.example,)), made.path)
    return torch.export.load(made.path).module()


def _torchscript(made: Making) -> Program:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and MONAI Deploy still wants it
        torch.jit.save(torch.jit.trace(made.network, made.example), made.path)
        return torch.jit.load(made.path)


def _onnx(made: Making) -> Program:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise SfgMedError(
            "--format onnx", "the package " + str(error.name), "none", "pip install 'sfg-med[export]'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(made.network, (made.example,), made.path, dynamo=True, external_data=False, verbose=False)
    session: Any = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


FORMATS: dict[str, Callable[[Making], Program]] = {
    "compact": _compact,
    "pt2": _pt2,
    "onnx": _onnx,
    "torchscript": _torchscript,
}
