# SPDX-License-Identifier: Apache-2.0
"""What each ingredient of the randomisation is worth: ``python -m pipelines.ablation --out DIR``.

Trains a smaller network once with everything and once without each ingredient, for equally many steps on equally many
simulated men. Score the models on real MR with ``pipelines.real_volumes``; the command is printed at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command import run_command
from pipelines.demonstration import sfg_med, write_splits
from sfg_med.errors import SfgMedError
from sfg_med.training.runner import config_dir

# Variant to keys of configs/randomised.yaml; "narrow" men are nearly alike.
VARIANTS: dict[str, tuple[str, ...]] = {
    "all": (),
    "no-contrast": ("contrast=0.0",),
    "no-resolution": ("resolution=0.0",),
    "no-artefacts": ("artefacts=0.0",),
    "no-small-fields": ("small_fields=0.0",),
    "narrow-anatomy": (),
    "nothing": ("contrast=0.0", "resolution=0.0", "artefacts=0.0", "small_fields=0.0"),
}
NARROW = ("narrow-anatomy", "nothing")
NARROW_VARIATION = 0.25


def main(
    out: Annotated[Path, typer.Option("--out", help="Folder for data sets and runs.")],
    variants: Annotated[str, typer.Option(help="Names, parted by commas.")] = ",".join(VARIANTS),
    cases: Annotated[int, typer.Option(min=42, help="Simulated men.")] = 160,
    seed: Annotated[int, typer.Option(help="Of the simulation and the trainings.")] = 2027,
    spacing: Annotated[str, typer.Option(help="Voxel size of the simulated men in mm.")] = "3",
    jobs: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config.")] = None,
) -> None:
    """Train with and without each ingredient of the randomisation."""
    names = [name.strip() for name in variants.split(",")]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise SfgMedError("--variants", ", ".join(VARIANTS), unknown[0], "choose among them")
    for name in names:
        variation = NARROW_VARIATION if name in NARROW else 1.0
        dataset = out / ("narrow" if name in NARROW else "varied")
        men = ("--cases", cases, "--seed", seed, "--spacing", spacing, "--field-of-view", "whole")
        sfg_med("simulate", "--out", dataset, *men, "--variation", variation, "--jobs", jobs)
        write_splits(dataset, cases)
        configs = [w for c in ("randomised", "ablation") for w in ("--config", config_dir() / f"{c}.yaml")]
        keys = ("--threads", threads, f"seed={seed}", *VARIANTS[name], *(overrides or []))
        sfg_med("train", "--dataset-dir", dataset, "--run-dir", out / name, *configs, *keys)
    models = " ".join(f"-m {name}={out / name}" for name in names)
    typer.echo(f"\nScore them on real MR:\n  python -m pipelines.real_volumes {models} --data DIR --out OUT")


if __name__ == "__main__":
    run_command(main)
