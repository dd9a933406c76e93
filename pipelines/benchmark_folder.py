# SPDX-License-Identifier: Apache-2.0
"""Benchmark entries for prediction: folders, memory, how the cost grows, several processes."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipelines.benchmark_settings import Measures, Settings, call_sfg_med, entry, man
from pipelines.race import race
from sfg_med.devices import autocast

if TYPE_CHECKING:
    from sfg_med.inference.predictor import Predictor

# A pelvis at the usual size of an MR, and the sizes for the fit of time against voxels.
SHAPE, SPACING = (160, 160, 60), (2.4, 2.4, 4.0)
SIZES = ((96, 96, 40), (128, 128, 60), (192, 192, 60), (256, 256, 90))
CASES = 10
PAIR_CASES = 12
PASSES = (1, 2, 4, 8)
FOLDERS = (1, 2, 4, 8)


@entry
def predict_320x320x120(settings: Settings) -> Measures:
    """Peak resident memory and seconds of ``sfg-med predict`` for one volume of 320 x 320 x 120 voxels."""
    return _volume(settings, (320, 320, 120), (1.2, 1.2, 2.5))


@entry
def predict_512x512x200(settings: Settings) -> Measures:
    """The same for 512 x 512 x 200 voxels, and for folders of two and four: the peak must not grow with the folder."""
    one, two, four = (_volume(settings, (512, 512, 200), (0.75, 0.75, 1.5), cases) for cases in (1, 2, 4))
    return {**one, "peak_rss_gib_of_two": two["peak_rss_gib"], "peak_rss_gib_of_four": four["peak_rss_gib"]}


@entry
def folder_run(settings: Settings) -> Measures:
    """Ten cases by ``run_cases`` against the bare time of the same windows in the network."""
    from sfg_med.inference.inputs import find_jobs
    from sfg_med.inference.predictor import Predictor
    from sfg_med.inference.run import run_cases
    from sfg_med.model_file import load_model

    source = settings.folder / "in"
    for number in range(CASES):
        man(source / f"case{number}.nii.gz", SHAPE, SPACING, number)
    predictor = Predictor(load_model(settings.model_file()), device=settings.device, precision=settings.precision)
    counted: list[int] = []
    hook = predictor.network.register_forward_hook(lambda _, inputs, __: counted.append(len(inputs[0])))
    jobs = find_jobs(source, settings.folder / "out", predictor.spec)
    start = time.perf_counter()
    result = run_cases(predictor, jobs, settings.folder / "out", options={})
    seconds = time.perf_counter() - start
    hook.remove()
    window = torch.randn(1, 1, *predictor.spec.patch_size, device=predictor.device)

    def bare() -> None:
        with torch.inference_mode(), autocast(predictor.precision, predictor.device):
            predictor.network(window)

    one = race({"window": bare}, "window", turns=4 * settings.turns, device=predictor.device)["window"]
    windows = sum(counted)
    return {
        "cases": len(result.records),
        "windows": windows,
        "seconds": round(seconds, 2),
        "window_seconds": one["seconds"],
        "window_seconds_q1": one["seconds_q1"],
        "window_seconds_q3": one["seconds_q3"],
        "run_over_windows": round(seconds / (windows * one["seconds"]), 4),
        "precision": predictor.precision,
    }


@entry
def growth(settings: Settings) -> Measures:
    """Time against voxels, cases and posterior passes, with the fit of a straight line."""
    from sfg_med.data.volumes import read_volume
    from sfg_med.inference.posterior import has_posterior
    from sfg_med.inference.predictor import Predictor
    from sfg_med.model_file import load_model
    from sfg_med.networks import build_network

    model = load_model(settings.model_file())
    options: dict[str, Any] = {"device": settings.device, "precision": settings.precision}
    predictor = Predictor(model, **options)
    volumes = {s: read_volume(man(settings.folder / f"{i}.nii.gz", s, SPACING)) for i, s in enumerate(SIZES)}
    turns = max(3, settings.turns // 3)
    names = {f"{x}x{y}x{z}": (x, y, z) for x, y, z in SIZES}
    by_size = race(
        {name: partial(predictor.predict, volumes[shape]) for name, shape in names.items()},
        next(iter(names)), turns=turns, device=predictor.device,
    )  # fmt: skip
    # a compact file has nothing left to draw; what a draw costs does not depend on weights
    whole = model if has_posterior(model.network) else replace(model, network=build_network(model.spec).eval())
    drawing = {s: Predictor(whole, samples=s, groups="draw" if s == 1 else "model", **options) for s in PASSES}
    by_passes = race(
        {str(s): partial(p.predict, volumes[SIZES[1]]) for s, p in drawing.items()},
        "1", turns=turns, device=predictor.device,
    )  # fmt: skip
    for number in range(max(FOLDERS)):
        man(settings.folder / "in" / f"case{number}.nii.gz", SIZES[1], SPACING, number)
    predictor = Predictor(model, **options)
    by_cases = race(
        {str(count): partial(_run_folder, predictor, settings.folder, count) for count in FOLDERS},
        "1", turns=turns, device=predictor.device,
    )  # fmt: skip
    millions = [x * y * z / 1e6 for x, y, z in SIZES]
    return {
        "by_size": by_size,
        "seconds_against_million_voxels": _line(millions, [by_size[name]["seconds"] for name in names]),
        "by_cases": by_cases,
        "seconds_against_cases": _line(FOLDERS, [by_cases[str(n)]["seconds"] for n in FOLDERS]),
        "by_passes": by_passes,
        "seconds_against_passes": _line(PASSES, [by_passes[str(s)]["seconds"] for s in PASSES]),
    }


@entry
def two_processes(settings: Settings) -> Measures:
    """Two processes with a thread each by ``--num-parts 2`` against one with one thread: throughput and files."""
    source, model = settings.folder / "in", settings.model_file()
    for number in range(PAIR_CASES):
        man(source / f"case{number}.nii.gz", SHAPE, SPACING, number)
    common = ["predict", "-i", source, "-m", model, "--device", "cpu", "--precision", settings.precision]
    common += ["--threads", 1, "--quiet"]
    alone, shared = settings.folder / "one", settings.folder / "two"
    single, _, _ = call_sfg_med([*common, "-o", alone])
    start = time.perf_counter()
    parts = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "sfg_med.cli.main",
                *map(str, [*common, "-o", shared, "--num-parts", 2, "--part-id", i]),
            ]
        )
        for i in (0, 1)
    ]
    codes = [p.wait() for p in parts]
    double = time.perf_counter() - start
    files = sorted(p.name for p in alone.glob("*.nii.gz"))
    same = filecmp.cmpfiles(alone, shared, files, shallow=False)[0]
    return {
        "exit_codes": codes,
        "one_process_seconds": round(single, 2),
        "two_processes_seconds": round(double, 2),
        "throughput": round(single / double, 4),
        "files": len(files),
        "identical_files": len(same),
    }


def _volume(
    settings: Settings, shape: tuple[int, int, int], spacing: tuple[float, float, float], cases: int = 1
) -> Measures:
    """One call of ``sfg-med predict``: it reads, predicts, writes, draws the page."""
    source, out = settings.folder / f"in{cases}", settings.folder / f"out{cases}"
    for number in range(cases):
        man(source / f"mr{number}.nii.gz", shape, spacing, number)
    arguments = ["predict", "-i", source, "-o", out, "-m", settings.model_file(), "--json", "--overwrite"]
    seconds, peak_bytes, output = call_sfg_med([*arguments, *settings.predict_options()])
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    summary = json.loads(output)
    return {
        "peak_rss_gib": round(peak_bytes / 2**30, 3),
        "process_seconds": round(seconds, 2),
        "case_seconds": manifest["cases"][0]["seconds"],
        "device": manifest["device"],
        "model": str(settings.model or "demonstration model"),
        "done": summary["done"],
        "start_up_seconds": summary["start_up_seconds"],
    }


def _run_folder(predictor: Predictor, folder: Path, cases: int) -> None:
    """The first cases of a folder, results included."""
    from sfg_med.inference.inputs import find_jobs
    from sfg_med.inference.run import run_cases

    with tempfile.TemporaryDirectory(dir=folder) as out:
        jobs = find_jobs(folder / "in", Path(out), predictor.spec)[:cases]
        run_cases(predictor, jobs, Path(out), options={})


def _line(x: Any, y: Any) -> dict[str, float]:
    """Least squares: slope, intercept, and the part of the variance that the line explains."""
    slope, intercept = np.polyfit(x, y, 1)
    residual = np.asarray(y) - (slope * np.asarray(x) + intercept)
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "r_squared": float(1 - residual.var() / np.var(y)),
    }
