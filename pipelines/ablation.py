# SPDX-License-Identifier: Apache-2.0
"""What each ingredient of the randomisation is worth: ``python -m pipelines.ablation --out DIR``.

Trains a smaller network once with everything and once without each ingredient, for equally many steps on equally many
simulated men, and scores each on the same simulated men, as they are: ``simulated.md``. Score the models on real MR by
``pipelines.real_volumes``; the command is printed at the end. What is done is not done again. With ``--start`` all
go on from one network: what each ingredient adds in so many steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command import run_command
from pipelines.demonstration import score_test_men, sfg_med, test_men, write_splits
from pipelines.demonstration_card import scores
from sfg_med.config_dir import config_dir
from sfg_med.data.atomic import write_text
from sfg_med.errors import SfgMedError

# Variant to keys of configs/randomised.yaml; "narrow" men are nearly alike.
VARIANTS: dict[str, tuple[str, ...]] = {
    "all": (),
    "no-contrast": ("contrast=0.0",),
    "no-resolution": ("resolution=0.0",),
    "no-artefacts": ("artefacts=0.0",),
    "no-small-fields": ("small_fields=0.0",),
    "narrow-anatomy": (),
    "no-randomisation": ("contrast=0.0", "resolution=0.0", "artefacts=0.0", "small_fields=0.0"),
    "nothing": ("contrast=0.0", "resolution=0.0", "artefacts=0.0", "small_fields=0.0"),
}
NARROW = ("narrow-anatomy", "nothing")
NARROW_VARIATION = 0.25


def main(
    out: Annotated[Path, typer.Option("--out", help="Folder for data sets and runs.")],
    variants: Annotated[str, typer.Option(help="Names, parted by commas.")] = ",".join(VARIANTS),
    cases: Annotated[int, typer.Option(min=6, help="Simulated men.")] = 160,
    seed: Annotated[int, typer.Option(help="Of the simulation and the trainings.")] = 2027,
    spacing: Annotated[str, typer.Option(help="Voxel size of the simulated men in mm.")] = "3",
    jobs: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    start: Annotated[Path | None, typer.Option(help="Go on from this model or run.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config.")] = None,
) -> None:
    """Train with and without each ingredient of the randomisation. For research only, not for clinical use."""
    names = [name.strip() for name in variants.split(",")]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise SfgMedError("--variants", ", ".join(VARIANTS), unknown[0], "choose among them")
    varied = _simulate(out / "varied", cases, seed, spacing, 1.0, jobs)
    rows = ["| variant | MAE (HU) | MAE in bone (HU) | mean Dice |", "|---|---|---|---|"]
    for name in names:
        narrow = name in NARROW
        dataset = _simulate(out / "narrow", cases, seed, spacing, NARROW_VARIATION, jobs) if narrow else varied
        laid = ("randomised", "ablation", *(("examples/finetune",) if start else ()))
        configs = [w for c in laid for w in ("--config", config_dir() / f"{c}.yaml")]
        own = (*VARIANTS[name], *((f"initial_weights={start}",) if start else ()))
        keys = ("--threads", threads, f"seed={seed}", *own, *(overrides or []))
        if not (out / name / "models" / "model.safetensors").is_file():
            sfg_med("train", "--dataset-dir", dataset, "--run-dir", out / name, *configs, *keys)
        table = out / f"{name}-simulated" / "evaluation" / "metrics.csv"
        if not table.is_file():
            score_test_men(out / name, varied, out / f"{name}-simulated")
        found = dict(scores(table))
        rows.append(f"| {name} | {found['MAE (HU)']} | {found['MAE in bone (HU)']} | {found['mean Dice']} |")
    write_text(out / "simulated.md", "\n".join(rows) + "\n")
    typer.echo(f"\nOn {len(test_men(varied))} simulated men who test, as they are:\n" + "\n".join(rows))
    models = " ".join(f"-m {name}={out / name}" for name in names)
    typer.echo(f"\nScore them on real MR:\n  python -m pipelines.real_volumes {models} --data DIR --out OUT")


def _simulate(folder: Path, cases: int, seed: int, spacing: str, variation: float, jobs: int) -> Path:
    men = ("--cases", cases, "--seed", seed, "--spacing", spacing, "--field-of-view", "whole")
    sfg_med("simulate", "--out", folder, *men, "--variation", variation, "--jobs", jobs)
    write_splits(folder, cases)
    return folder


if __name__ == "__main__":
    run_command(main)
