# SPDX-License-Identifier: Apache-2.0
"""``sfg-med info``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    model: Annotated[Path | None, typer.Argument(help="Model file or folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions and devices, and of a model its tasks, labels, spacing, group shares and hash."""
    import json

    facts = _installation()
    if model is not None:
        facts["model"] = _model(model)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    from rich.console import Console

    Console(soft_wrap=True).print(_lines(facts), highlight=False, markup=False)


def _installation() -> dict[str, Any]:
    from importlib.metadata import version

    import torch

    from sfg_med import __version__
    from sfg_med.devices import choose_precision, describe_device

    names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    packages = ("torch", "monai", "numpy", "nibabel", "SimpleITK")
    return {
        "sfg_med": __version__,
        "packages": {name: version(name) for name in packages},
        "devices": {
            name: f"{describe_device(torch.device(name))}, {choose_precision('auto', torch.device(name))}"
            for name in names
        },
        "threads": torch.get_num_threads(),
    }


def _model(path: Path) -> dict[str, Any]:
    from sfg_med.model_file import load_model
    from sfg_med.model_path import find_model

    loaded = load_model(find_model(path))
    network, spec = loaded.network, loaded.spec
    shares = {name: p.mean(0).tolist() for name, p in network.group_probabilities().items()}
    return {
        "path": str(loaded.path),
        "sha256": loaded.sha256,
        "parameters": sum(p.numel() for p in network.parameters()),
        "spec": spec.to_dict(),
        "groups": list(network.groups.names),
        "group_shares": {name: [round(v, 4) for v in values] for name, values in shares.items()},
        **loaded.metadata,
    }


def _lines(facts: dict[str, Any]) -> str:
    lines = [f"sfg_med {facts['sfg_med']}", ", ".join(f"{k} {v}" for k, v in facts["packages"].items())]
    lines += [f"{name}: {what}" for name, what in facts["devices"].items()]
    model = facts.get("model")
    if model is None:
        return "\n".join(lines)
    spec = model["spec"]
    lines += ["", model["path"], f"SHA-256 {model['sha256']}", f"{model['parameters']:,} parameters"]
    lines.append(
        f"spacing {' x '.join(map(str, spec['spacing_mm']))} mm, window {' x '.join(map(str, spec['patch_size']))}"
    )
    for task in spec["tasks"]:
        names = task.get("labels") or task.get("classes")
        what = ", ".join(names) if names else " ".join(str(task[k]) for k in ("unit", "value_range") if k in task)
        lines.append(f"task {task['name']}: {what}")
    if model["group_shares"]:
        widths = [max(10, len(group) + 2) for group in model["groups"]]
        rows = {"part of the kernels in": model["groups"]}
        rows |= {name: [f"{v:.2f}" for v in values] for name, values in model["group_shares"].items()}
        lines += ["", *(_row(name, cells, widths) for name, cells in rows.items())]
    return "\n".join(lines)


def _row(name: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    return f"{name:<24}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
