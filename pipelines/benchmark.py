# SPDX-License-Identifier: Apache-2.0
"""Measure what prediction costs on this machine: ``python -m pipelines.benchmark --out FILE.json``.

Each entry runs in processes of its own, so that its peak memory is its own. Finished entries in FILE.json are
kept unless ``--again``. Further measurements are functions registered with :func:`entry`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.command import run_command
from sfg_med.data.atomic import write_json
from sfg_med.errors import SfgMedError

Measures = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What all entries are given.

    Args:
        model: model file, or None for untrained weights of the default widths.
        device: device name.
        precision: number format.
        threads: CPU threads; 0 leaves it to torch.
        folder: scratch folder.
    """

    model: Path | None
    device: str
    precision: str
    threads: int
    folder: Path


ENTRIES: dict[str, Callable[[Settings], Measures]] = {}


def entry(function: Callable[[Settings], Measures]) -> Callable[[Settings], Measures]:
    """Register a measurement under its function's name."""
    ENTRIES[function.__name__] = function
    return function


@entry
def predict_320x320x120(settings: Settings) -> Measures:
    """Peak resident memory and seconds of ``sfg-med predict`` for one volume of 320 x 320 x 120 voxels.

    Voxels of 1.2 x 1.2 x 2.5 mm span a whole pelvis. The process reads, predicts, writes, draws the page.
    """
    model = settings.model or _untrained(settings.folder / "model.safetensors")
    image = _noise(settings.folder / "mr.nii.gz", (320, 320, 120), (1.2, 1.2, 2.5))
    arguments = ["predict", "-i", image, "-o", settings.folder / "out", "-m", model, "--json", "--overwrite"]
    options = ["--device", settings.device, "--precision", settings.precision, "--threads", settings.threads]
    seconds, peak_bytes, output = _measured([*arguments, *options])
    case = json.loads((settings.folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    return {
        "peak_rss_gib": round(peak_bytes / 2**30, 3),
        "process_seconds": round(seconds, 2),
        "case_seconds": case["cases"][0]["seconds"],
        "device": case["device"],
        "model": str(settings.model or "untrained weights"),
        "done": json.loads(output)["done"],
    }


def main(
    out: Annotated[Path, typer.Option(help="JSON file for the results.")],
    entries: Annotated[str, typer.Option(help="Names, separated by commas. Default: all.")] = "",
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Model. Default: untrained weights.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Measure finished entries again.")] = False,
    list_entries: Annotated[bool, typer.Option("--list", help="Print the entries and stop.")] = False,
) -> None:
    """Measure time and memory; write named results to a JSON file."""
    names = [name for name in entries.split(",") if name] or list(ENTRIES)
    unknown = [name for name in names if name not in ENTRIES]
    if unknown:
        raise SfgMedError("--entries", f"names among {', '.join(ENTRIES)}", unknown[0], "correct the name")
    if list_entries:
        typer.echo("\n".join(ENTRIES))
        return
    results: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    results["machine"] = {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "processor": platform.processor(),
    }
    for name in names:
        if name not in results or again:
            with tempfile.TemporaryDirectory(prefix="sfg_med_benchmark_") as folder:
                results[name] = ENTRIES[name](Settings(model, device, precision, threads, Path(folder)))
            write_json(out, results)
        typer.echo(f"{name}: {json.dumps(results[name])}")


def _measured(arguments: list[Any]) -> tuple[float, int, str]:
    """Seconds, peak resident bytes and stdout of one ``sfg-med`` call."""
    # The child reports its own peak: that of RUSAGE_CHILDREN would be the largest of all children so far.
    code = (
        "import resource, sys, sfg_med.cli.main as m\n"
        "try:\n    m.main()\n"
        "finally:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    start = time.perf_counter()
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    lines = result.stderr.strip().splitlines()
    if result.returncode:
        raise SfgMedError("sfg-med predict", "exit code 0", f"{result.returncode}: {' '.join(lines[-3:])}", "see there")
    # ru_maxrss is in KiB on Linux, in bytes on macOS
    return seconds, int(lines[-1]) * (1 if sys.platform == "darwin" else 1024), result.stdout


def _untrained(path: Path) -> Path:
    import torch

    from sfg_med.model_file import save_model
    from sfg_med.networks import build_network
    from sfg_med.spec import ModelSpec

    torch.manual_seed(0)
    spec = ModelSpec(network={"name": "SFGUNet", "channels": [16, 32, 64, 128]})
    save_model(path, build_network(spec).eval(), spec, provenance={"untrained": True})
    return path


def _noise(path: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Path:
    """An MR-like number in every voxel: what is in the image does not change what it costs."""
    import nibabel as nib
    import numpy as np

    values = np.random.default_rng(0).gamma(4.0, 80.0, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([*spacing, 1.0])), path)
    return path


if __name__ == "__main__":
    run_command(main)
