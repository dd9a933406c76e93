# SPDX-License-Identifier: Apache-2.0
"""One formula against path form: ``python -m pipelines.forms --dataset-dir DIR --out FILE.json``.

Both forms start from the same weights and see the same batches. Measured are the seconds and the peak memory of a
training step, and the gradient of the groups' probabilities over many draws of the groups: its mean, how much it
varies from draw to draw, and whether both forms agree on it. Quality and learned groups of whole trainings come from
``pipelines.compare --strategies sfg,sfg-paths``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from pipelines.benchmark_settings import peak_bytes
from pipelines.command import run_command
from sfg_med.data.atomic import write_json
from sfg_med.errors import SfgMedError

FORMS = ("formula", "paths")
WARM_UP = 2


def main(
    dataset_dir: Annotated[Path, typer.Option(help="Dataset of the config.")],
    out: Annotated[Path, typer.Option(help="JSON file for the results.")],
    config: Annotated[list[Path] | None, typer.Option(help="A config laid over train.yaml; may be repeated.")] = None,
    draws: Annotated[int, typer.Option(min=2, help="Draws of the groups for each batch.")] = 32,
    batches: Annotated[int, typer.Option(min=1, help="Batches.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    measure: Annotated[str, typer.Option(hidden=True)] = "",
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config.")] = None,
) -> None:
    """Compare the two forms of stochastic filter groups on the same weights and data."""
    if measure:
        _measure(measure, out, dataset_dir, config or [], overrides or [], draws, batches, threads)
        return
    options = ["--draws", draws, "--batches", batches, "--threads", threads]
    options += [word for path in config or [] for word in ("--config", path)]
    with tempfile.TemporaryDirectory(prefix="sfg_med_forms_") as folder:
        measured = {}
        for form in FORMS:  # each in a process of its own, so that its peak memory is its own
            path = Path(folder) / f"{form}.npz"
            words = ["--dataset-dir", dataset_dir, "--out", path, "--measure", form, *options, *(overrides or [])]
            command = [sys.executable, "-m", "pipelines.forms", *map(str, words)]
            result = subprocess.run(command, check=False, capture_output=True, text=True)
            if result.returncode:
                lines = result.stderr.strip().splitlines()[-1:]
                raise SfgMedError(form, "a measurement", " ".join(lines), "see there")
            with np.load(path) as arrays:
                measured[form] = {name: arrays[name] for name in arrays.files}
    results = {form: summary(values) for form, values in measured.items()}
    agreement = compare(*(measured[form] for form in FORMS))
    write_json(out, {"draws": draws, "batches": batches, "threads": threads, **results, **agreement})
    typer.echo(json.dumps({**results, **agreement}, indent=1))


def summary(values: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Figures of one form.

    Args:
        values: ``gradients (batches, draws, N)``, ``seconds (batches * draws,)``, ``peak_bytes``, ``hash``.

    Returns:
        Median seconds of a step, peak GiB, and of the gradient of p: the length of the mean over draws, the standard
        deviation over draws (root of the summed variances), and their ratio, the signal that one draw holds.
    """
    gradients = values["gradients"].astype(np.float64)
    mean = np.linalg.norm(gradients.mean(1), axis=-1).mean()
    spread = np.sqrt(gradients.var(1, ddof=1).sum(-1)).mean()
    return {
        "seconds_per_step": statistics.median(values["seconds"].tolist()),
        "peak_gib": float(values["peak_bytes"]) / 2**30,
        "gradient_mean": float(mean),
        "gradient_std": float(spread),
        "signal_to_noise": float(mean / spread),
        "loss_mean": float(values["losses"].mean()),
        "loss_std_over_draws": float(values["losses"].std(1, ddof=1).mean()),
    }


def compare(formula: Mapping[str, NDArray[Any]], paths: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Whether both forms mean the same: cosine of their mean gradients, largest difference of a loss, ratios.

    Raises:
        SfgMedError: if the forms did not start from the same weights.
    """
    if formula["hash"] != paths["hash"]:
        raise SfgMedError("forms", "the same initial weights", "different ones", "report this as a bug")
    a, b = (v["gradients"].astype(np.float64).mean((0, 1)) for v in (formula, paths))
    left, right = summary(formula), summary(paths)
    return {
        "cosine_of_mean_gradients": float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))),
        "largest_loss_difference": float(np.abs(formula["losses"] - paths["losses"]).max()),
        "paths_over_formula": {name: right[name] / left[name] for name in left},
    }


def _measure(
    form: str,
    out: Path,
    dataset_dir: Path,
    config: Sequence[Path],
    overrides: Sequence[str],
    draws: int,
    batches: int,
    threads: int,
) -> None:
    import torch
    from monai.data import list_data_collate

    from sfg_med.config_dir import config_dir
    from sfg_med.sharing.convolution import SharingConv
    from sfg_med.training.runner import parse_overrides, training_workflow

    torch.set_num_threads(threads)
    values = {"dataset_dir": str(dataset_dir), "run_dir": str(out.with_suffix("")), **parse_overrides(overrides)}
    policy = {"mode": "gumbel", **values.pop("policy", {})}
    values["strategy"] = {"name": "sfg", "form": form, "policy": policy}
    workflow = training_workflow([config_dir() / "train.yaml", *config], values)
    workflow.initialize()
    part = workflow.parser.get_parsed_content
    network, loss, samples = part("net"), part("loss"), part("train#dataset")
    layers = [m for m in network.modules() if isinstance(m, SharingConv)]
    learned = [m.kernel_groups.distribution.rho for m in layers if m.kernel_groups.distribution is not None]
    size = part("batch_size")
    gradients, seconds, losses = [], [], []
    for index in range(batches):
        items = [samples[index * size + i] for i in range(size)]
        batch = list_data_collate(items)
        image, targets = part("prepare_batch")(batch, torch.device("cpu"))
        for draw in range(draws + (WARM_UP if index == 0 else 0)):
            network.zero_grad(set_to_none=True)
            torch.manual_seed(index * draws + draw)
            start = time.perf_counter()
            value = loss(part("train#inferer")(image, network), targets)
            value.backward()
            seconds.append(time.perf_counter() - start)
            losses.append(value.item())
            gradients.append(torch.cat([g.flatten() for rho in learned if (g := rho.grad) is not None]).numpy())
    first = slice(WARM_UP, None)
    np.savez(
        out,
        gradients=np.stack(gradients[first]).reshape(batches, draws, -1),
        losses=np.array(losses[first]).reshape(batches, draws),
        seconds=np.array(seconds[first]),
        peak_bytes=peak_bytes(),
        hash=sum(float(m.weight.detach().double().abs().sum()) for m in layers),
    )


if __name__ == "__main__":
    run_command(main)
