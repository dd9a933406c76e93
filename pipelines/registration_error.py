# SPDX-License-Identifier: Apache-2.0
"""Error of the registration in mm: ``python -m pipelines.registration_error --dataset-dir DIR --out FILE.json``.

The CT of each pair is moved by a known motion; what is left of it after registration is measured inside the body.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
import typer
from numpy.typing import NDArray

from pipelines.command import run_command
from pipelines.known_motion import Motion, known_motion, moved_image, residual_mm
from sfg_med.data.atomic import write_json
from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
from sfg_med.preparation.bodies import ct_body, mr_body
from sfg_med.preparation.images import Image, array_of, image_like, to_image
from sfg_med.preparation.registration import KINDS, Engine, align, choose_engine
from sfg_med.preparation.registration.engines import engine_version


def main(
    dataset_dir: Annotated[Path, typer.Option(help="Data set whose mr and ct of a case lie on each other.")],
    out: Annotated[Path, typer.Option(help="JSON file for the results.")],
    engines: Annotated[str, typer.Option(help="Names, parted by commas.")] = "elastix,simpleitk",
    cases: Annotated[int, typer.Option(min=1, help="How many, in the order of their names.")] = 5,
    trim_mm: Annotated[float, typer.Option(min=0, help="The MR ends so far before the CT along the patient.")] = 24.0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Measure what registration leaves of a known motion."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    folders = sorted(path.parent for path in dataset_dir.glob("*/ct.nii.gz"))[:cases]
    if not folders:
        raise SfgMedError(dataset_dir, "cases such as case001/ct.nii.gz", "none", "check --dataset-dir")
    chosen = [choose_engine(name) for name in engines.split(",")]
    rows: list[dict[str, Any]] = []
    for seed, folder in enumerate(folders):
        pair = moved_pair(
            to_image(read_volume(folder / "mr.nii.gz")), to_image(read_volume(folder / "ct.nii.gz")), seed, trim_mm
        )
        for engine in chosen:
            rows += [{"case": folder.name, **_measure(pair, kind, engine)} for kind in KINDS]
            versions = [f"{e.name} {engine_version(e)}" for e in chosen]
            write_json(out, {"engines": versions, "threads": threads, "trim_mm": trim_mm, "rows": rows})
            typer.echo(_line(rows[-3:]))


Pair = tuple[Image, Image, Image, Image, Motion]


def moved_pair(mr: Image, ct: Image, seed: int, trim_mm: float) -> Pair:
    """MR, its body, the moved CT, its body, and the motion; both images come in one grid."""
    motion = known_motion(seed, ct)
    moved = moved_image(ct, motion)
    body = image_like(mr_body(array_of(mr), mr.GetSpacing(), "MR"), mr)
    outline = image_like(ct_body(array_of(moved), moved.GetSpacing(), "CT"), moved)
    cut = round(trim_mm / mr.GetSpacing()[2])
    ends = slice(cut, mr.GetSize()[2] - cut)
    return mr[:, :, ends], body[:, :, ends], moved, outline, motion


def _measure(pair: Pair, kind: str, engine: Engine) -> dict[str, Any]:
    mr, body, ct, outline, motion = pair
    wall, cpu = time.perf_counter(), time.process_time()
    found = align(mr, body, ct, outline, kind, engine)
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    left = residual_mm(motion, found.transform, mr, every_third(array_of(body) > 0))
    return {
        "engine": engine.name,
        "kind": kind,
        "mean_mm": round(float(left.mean()), 3),
        "median_mm": round(float(np.median(left)), 3),
        "p95_mm": round(float(np.percentile(left, 95)), 3),
        **{name: round(value, 2) for name, value in seconds.items()},
        **found.figures,
        "flags": list(found.flags),
    }


def every_third(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """One voxel of 27 of a mask: a motion is smooth, and asking for points one by one is slow."""
    every = np.zeros_like(inside)
    every[::3, ::3, ::3] = True
    return inside & every


def _line(rows: list[dict[str, Any]]) -> str:
    steps = ", ".join(f"{r['kind']} {r['mean_mm']:.2f} mm" for r in rows)
    return f"{rows[0]['case']} {rows[0]['engine']}: {steps}; {rows[-1]['cpu_seconds']:.0f} s of CPU"


if __name__ == "__main__":
    run_command(main)
