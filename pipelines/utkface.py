# SPDX-License-Identifier: Apache-2.0
"""Age and gender from faces, the paper's second experiment: ``python -m pipelines.utkface --data TAR --out DIR``.

Trains every strategy by the paper's protocol (configs/utkface.yaml: 200 x 200, VGG-11, 330 epochs) or a smaller one,
tests on the images that no run has trained on, and writes ``OUT/results.csv`` and ``OUT/index.html``. Each run has a
folder ``OUT/runs/STRATEGY/seedS-fold0``; finished runs are skipped, stopped ones go on, so the same call may be
repeated, and ``--num-parts`` with ``--part-id`` spreads the runs over a job array. ``OUT/cache`` holds the faces.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.command import run_command
from pipelines.compare import choose, conditions, whole_numbers
from pipelines.runs import RUNS, Loop, Run, check_conditions, plan_runs
from sfg_med.data.atomic import write_text
from sfg_med.errors import SfgMedError

_DEFAULT = (
    "single-task,hard-sharing,constant-mask,constant-p,cross-stitch,branched,selective-sharing,sfg,sfg-stochastic"
)
_NOTE = "A research data set with mostly machine-made labels; nothing here is for use on people."


def main(
    data: Annotated[Path | None, typer.Option("--data", help="Folder or tar of age_gender_race_date.jpg.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the experiment.")] = None,
    strategies: Annotated[str, typer.Option(help="Names, separated by commas; see --list.")] = _DEFAULT,
    seeds: Annotated[str, typer.Option(help="Whole numbers, separated by commas.")] = "0,1,2",
    fraction: Annotated[float, typer.Option(help="Part of the images; 0.1 is the paper's small data set.")] = 1.0,
    image_size: Annotated[int, typer.Option(min=32, help="Edge of the images in pixels.")] = 200,
    channels: Annotated[str, typer.Option(help="Kernels of the 8 convolutions, as 16,32,... Default: VGG-11.")] = "",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps; the temperature falls in proportion. Default: 330 epochs."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Passes that stochastic strategies predict with.")] = 50,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    config: Annotated[list[Path] | None, typer.Option(help="A further config laid over; may be repeated.")] = None,
    num_parts: Annotated[int, typer.Option(min=1, help="Share the runs among this many processes.")] = 1,
    part_id: Annotated[int, typer.Option(min=0, help="Which part this process takes, from 0.")] = 0,
    note: Annotated[list[str] | None, typer.Option(help="A sentence for the page.")] = None,
    collect_only: Annotated[bool, typer.Option("--collect-only", help="Train nothing; write table and page.")] = False,
    list_strategies: Annotated[bool, typer.Option("--list", help="Print the strategies' names and stop.")] = False,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the config.")] = None,
) -> None:
    """Train every sharing strategy on faces with age and gender and compare them.

    Exit codes: 0 all runs done, 1 some run failed (the others are done), 2 nothing run.
    """
    from sfg_med.training.strategies import named_strategies

    known = list(named_strategies())
    if list_strategies:
        typer.echo("\n".join(known))
        return
    if out is None:
        raise SfgMedError("--out", "a folder for the experiment", "none", "give one")
    names = choose(strategies.split(","), known)
    wanted = plan_runs(names, whole_numbers(seeds, "--seeds"))
    if collect_only:
        typer.echo(f"page: {write_page(out, wanted, note or [])}")
        return
    if data is None:
        raise SfgMedError("--data", "a folder or tar of faces", "none", "give one")
    if part_id >= num_parts:
        raise SfgMedError("--part-id", f"a number below --num-parts {num_parts}", str(part_id), "correct it")
    values: dict[str, Any] = {
        "image_size": image_size,
        "fraction": fraction,
        "cache_dir": str((out / "cache").resolve()),
    }
    if channels:
        values["network::channels"] = whole_numbers(channels, "--channels", repeated=True)
    if steps is not None:
        values |= {"steps": steps, "temperature_rate": None}
    files, values = _configuration(data, values, config or [], overrides or [])
    _run(out, files, values, wanted, (part_id, num_parts), samples=samples, threads=threads, notes=note or [])


def _run(
    out: Path,
    files: Sequence[Path],
    values: dict[str, Any],
    wanted: Sequence[Run],
    part: tuple[int, int],
    *,
    samples: int,
    threads: int,
    notes: Sequence[str],
) -> None:
    import torch

    from pipelines.compare_run import quiet_libraries
    from pipelines.utkface_run import FaceTrial
    from sfg_med.training.strategies import named_strategies

    if threads:
        torch.set_num_threads(threads)
    shared = {name: value for name, value in conditions(files, values).items() if name != "cache_dir"}
    check_conditions(out, {**shared, "samples": samples})
    _decode(out, values)
    quiet_libraries()
    logging.getLogger("sfg_med.training.faces").setLevel(logging.ERROR)  # every run would name the same files again
    known = named_strategies()
    trial = FaceTrial(out, files, values, samples=samples)
    loop = Loop(out, trial, needs=lambda name: known[name].needs, show=("mae_age", "accuracy_gender"))
    code = loop(wanted, part)
    if code == 0 or any((out / RUNS).glob("*/*/result.json")):
        typer.echo(f"page: {write_page(out, wanted, notes)}")
    raise typer.Exit(code)


def _decode(out: Path, values: dict[str, Any]) -> None:
    """Decode all images once, and say which are left out."""
    from sfg_med.data.faces import load_faces

    faces = load_faces(Path(values["dataset_dir"]), int(values["image_size"]), Path(values["cache_dir"]))
    for line in faces.skipped:
        typer.echo(f"skipped {line}", err=True)
    typer.echo(f"{len(faces.faces)} faces; {len(faces.skipped)} other images skipped (named in skipped.txt)")
    write_text(out / "skipped.txt", "".join(f"{line}\n" for line in faces.skipped))


def write_page(out: Path, planned: Sequence[Run], notes: Sequence[str]) -> Path:
    """Write ``results.csv`` and ``index.html`` from the runs that are finished."""
    from sfg_med.report.comparison_page import Options, write_comparison

    options = Options(
        "What should age and gender share?",
        ["mae_age", "accuracy_gender"],
        titles={"mae_age": "MAE of age (years)", "accuracy_gender": "accuracy of gender"},
        notes=[_NOTE, *notes],
    )
    return write_comparison(out, options, planned)


def _configuration(
    data: Path, values: dict[str, Any], overlays: Sequence[Path], words: Sequence[str]
) -> tuple[list[Path], dict[str, Any]]:
    """Config files and overrides of all runs, checked before anything starts."""
    from monai.bundle import ConfigParser

    from sfg_med.config_dir import config_dir
    from sfg_med.training.runner import check_keys, parse_overrides

    if not data.exists():
        raise SfgMedError(data, "a folder or tar of faces", "nothing there", "check --data")
    files = [config_dir() / "train.yaml", config_dir() / "utkface.yaml", *overlays]
    absent = next((path for path in files if not path.is_file()), None)
    if absent is not None:
        raise SfgMedError(absent, "a config file", "nothing there", "correct --config")
    given = parse_overrides(words)
    reserved = sorted({"strategy", "seed", "fold", "run_dir", *values} & {key.split("::")[0] for key in given})
    if reserved:
        raise SfgMedError(reserved[0], "a key that an option or each run sets", "KEY=VALUE", "use the option, if any")
    merged = {"dataset_dir": str(data.resolve()), **values, **given}
    check_keys(merged, ConfigParser.load_config_files([str(path) for path in files]))
    return files, merged


if __name__ == "__main__":
    run_command(main)
