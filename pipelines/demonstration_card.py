# SPDX-License-Identifier: Apache-2.0
"""The card of the demonstration model: what it is, how it was made, what it does on simulated men it never saw."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

from sfg_med.data.atomic import write_text
from sfg_med.model_file import LoadedModel, load_model
from sfg_med.networks.cost import network_cost

WARNING = (
    "**Trained on simulated men only. It shows how the program works; it is no clinical model.** What it does on real"
    " MR, failures included: [docs/results.md](../docs/results.md#real-mr)."
)
NAMES = {"mae_hu": "MAE (HU)", "mae_bone_hu": "MAE in bone (HU)"}


def write_card(path: Path, model_file: Path, metrics: Path, options: Sequence[str]) -> Path:
    """Write the card.

    Args:
        path: Markdown file.
        model_file: the exported model.
        metrics: ``metrics.csv`` of the simulated test men.
        options: of the pipeline's command line, without the folder.
    """
    model = load_model(model_file)
    rows = [*facts(model, model_file), *scores(metrics)]
    recipe = " ".join(["python -m pipelines.demonstration --out DIR", *options])
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    text = f"# Demonstration model\n\n`{model_file.name}`: what `sfg-med predict` uses without `-m`. {WARNING}\n\n"
    text += f"| | |\n|---|---|\n{table}\n\nRepeat it with\n\n    {recipe}\n\n"
    text += (
        "On another machine or with another number of threads the weights differ in their last bits and, after"
        " training, by more; the figures should be alike.\n"
    )
    write_text(path, text)
    return path


def facts(model: LoadedModel, model_file: Path) -> list[tuple[str, str]]:
    """Network, tasks, training, seed, hash and licence."""
    made = model.metadata["provenance"]
    shape = (1, 1, *model.spec.patch_size)
    parameters, gflop = network_cost(model.network, shape)
    channels = "-".join(map(str, model.spec.network["channels"]))
    size = model_file.stat().st_size / 2**20
    spacing = " x ".join(f"{s:g}" for s in model.spec.spacing_mm)
    network = f"compact SFGUNet, {channels} channels before, {spacing} mm, {parameters:,} parameters"
    return [
        ("network", f"{network}, {gflop:.1f} GFLOP for a window, {size:.1f} MiB"),
        ("tasks", "; ".join(f"{task.name}: {task.contents}" for task in model.spec.tasks)),
        ("training data", f"{len(made['train'])} men of `sfg-med simulate`; no patient"),
        ("training", f"{made['steps']:,} steps; patches in a step: {made.get('batch_size', 1)}"),
        ("seed", str(made["seed"])),
        ("SHA-256", f"`{model.sha256}`"),
        ("licence", "Apache-2.0"),
    ]


def scores(metrics: Path) -> list[tuple[str, str]]:
    """Mean and standard deviation of every metric over the test men."""
    with metrics.open(newline="", encoding="utf-8") as file:
        cases = list(csv.DictReader(file))
    known = [{k: float(v) for k, v in row.items() if k != "case" and v not in ("", "nan")} for row in cases]
    values = {key: [row[key] for row in known if key in row] for key in cases[0] if key != "case"}
    organs = [key for key in values if key.startswith("dice_")]
    means = [statistics.fmean(row[key] for key in organs if key in row) for row in known]
    shown = {name: values[key] for key, name in NAMES.items()}
    shown["mean Dice"] = means
    shown |= {f"Dice {key.removeprefix('dice_').replace('_', ' ')}": values[key] for key in organs}
    tested = [("simulated men who test", str(len(cases)))]
    return tested + [(name, _spread(v, 1 if "HU" in name else 3)) for name, v in shown.items()]


def _spread(values: Sequence[float], digits: int) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {deviation:.{digits}f}"
