# SPDX-License-Identifier: Apache-2.0
"""Measure what the networks, training and prediction cost on this machine: ``pipelines.benchmark --out FILE.json``.

All that is compared is timed in turns in one process; what is said about memory was measured in a process of its own.
Finished entries in FILE.json are kept unless ``--again``; FILE.svg draws them. Further measurements are functions
registered with :func:`pipelines.benchmark_settings.entry`.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines import benchmark_folder, benchmark_networks, benchmark_training  # noqa: F401 - register their entries
from pipelines.benchmark_figure import draw
from pipelines.benchmark_settings import ENTRIES, Settings
from pipelines.command import run_command
from sfg_med.data.atomic import write_json
from sfg_med.errors import SfgMedError

SHARES = Path(__file__).parents[1] / "configs" / "benchmark_shares.json"


def main(
    out: Annotated[Path, typer.Option(help="JSON file for the results; a figure is drawn beside it.")],
    entries: Annotated[str, typer.Option(help="Names, separated by commas. Default: all.")] = "",
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Model. Default: the demonstration model.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    turns: Annotated[int, typer.Option(min=1, help="How often each action is timed.")] = 9,
    widths: Annotated[str, typer.Option(help="Channels of the U-Nets' five levels.")] = "32,64,128,256,320",
    window: Annotated[str, typer.Option(help="Voxels of a window.")] = "128,128,32",
    shares: Annotated[Path, typer.Option(help="JSON with the shares of compact networks.")] = SHARES,
    again: Annotated[bool, typer.Option("--again", help="Measure finished entries again.")] = False,
    list_entries: Annotated[bool, typer.Option("--list", help="Print the entries and stop.")] = False,
) -> None:
    """Measure time and memory; write named results to a JSON file and draw them."""
    names = [name for name in entries.split(",") if name] or list(ENTRIES)
    unknown = [name for name in names if name not in ENTRIES]
    if unknown:
        raise SfgMedError("--entries", f"names among {', '.join(ENTRIES)}", unknown[0], "correct the name")
    if list_entries:
        for name, function in ENTRIES.items():
            typer.echo(f"{name}: {(function.__doc__ or '').splitlines()[0]}")
        return
    import torch

    if threads:
        torch.set_num_threads(threads)
    results: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    results["machine"] = {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    for name in names:
        if name not in results or again:
            typer.echo(f"{name} ...", err=True)
            with tempfile.TemporaryDirectory(prefix="sfg_med_benchmark_") as folder:
                frame = (_numbers(widths, 5), _numbers(window, 3))
                settings = Settings(model, device, precision, threads, turns, *frame, shares, Path(folder))
                results[name] = ENTRIES[name](settings)
            write_json(out, results)
        typer.echo(f"{name}: {json.dumps(results[name])}")
    draw(results, out.with_suffix(".svg"))


def _numbers(text: str, count: int) -> tuple[int, ...]:
    words = text.split(",")
    if len(words) != count or not all(w.strip().isdigit() and int(w) for w in words):
        expected = f"{count} positive whole numbers, separated by commas"
        raise SfgMedError("--widths or --window", expected, repr(text), "correct it")
    return tuple(map(int, words))


if __name__ == "__main__":
    run_command(main)
