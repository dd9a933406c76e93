# SPDX-License-Identifier: Apache-2.0
"""Is a model as wrong as it says? ``python -m pipelines.calibration --dataset-dir DIR -m MODEL --out DIR``.

Predicts the test cases with S passes and with one, and compares what the model says of its errors with the errors.
Writes ``calibration.json``, ``cases.csv`` and ``index.html``. Each case's sums are kept in ``OUT/cases``, so the same
call goes on where it was stopped.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.command import run_command
from pipelines.runs import check_conditions
from sfg_med.data.atomic import atomic_path, write_json
from sfg_med.data.cases import Case, Dataset, find_cases
from sfg_med.data.splits import PARTS, read_splits
from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
from sfg_med.inference.manifest import now
from sfg_med.report.calibration_data import Sums, case_row, case_sums, pooled
from sfg_med.spec import ModelSpec

SCHEMA = "sfg_med.calibration/1"


def main(
    dataset_dir: Annotated[Path, typer.Option("--dataset-dir", help="One folder per case, with references.")],
    model: Annotated[Path, typer.Option("--model", "-m", help="Model file or folder of a run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    samples: Annotated[int, typer.Option(min=1, help="Draws of the kernels' groups; compared with one pass.")] = 10,
    part: Annotated[str, typer.Option(help="Part of splits.json to predict; all: every case.")] = "test",
    seed: Annotated[int, typer.Option(help="Start of the random numbers.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    overlap: Annotated[float, typer.Option(min=0.0, max=0.95, help="Part that sliding windows share.")] = 0.5,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
) -> None:
    """Compare predicted uncertainty with true errors. For research only, not for clinical use."""
    from sfg_med.inference.predictor import Predictor
    from sfg_med.model_file import load_model
    from sfg_med.model_path import find_model

    if threads:
        import torch

        torch.set_num_threads(threads)
    loaded = load_model(find_model(model))
    options: dict[str, Any] = {"seed": seed, "device": device, "precision": precision, "overlap": overlap}
    predictors = {s: Predictor(loaded, samples=s, details=True, **options) for s in dict.fromkeys((samples, 1))}
    dataset = Dataset.of(dataset_dir)
    cases = choose_cases(dataset, loaded.spec, part)
    check_conditions(out, {"model": loaded.sha256, "dataset": str(dataset.path.resolve()), **options})
    records = {
        s: [stored_sums(predictor, case, out) for case in with_bar(cases, f"{s} passes")]
        for s, predictor in predictors.items()
    }
    trained = set(loaded.metadata.get("provenance", {}).get("train", []))
    calibration = {
        "schema": SCHEMA,
        "created": now(),
        "notice": "Research only, not for clinical use.",
        "model": {
            "path": str(loaded.path),
            "sha256": loaded.sha256,
            "variance": bool(loaded.spec.network.get("variance")),
        },
        "dataset": str(dataset.path),
        "simulated": (dataset.path / "simulation.json").is_file(),
        "part": "" if part == "all" else part,
        "cases": [case.name for case in cases],
        "seen_in_training": sorted(trained & {case.name for case in cases}),
        "options": options,
        "results": [{"samples": s, **pooled(loaded.spec, found)} for s, found in records.items()],
    }
    write_results(out, loaded.spec, calibration, records)


def choose_cases(dataset: Dataset, spec: ModelSpec, part: str) -> list[Case]:
    """Cases of a part of the dataset that have a reference.

    Raises:
        SfgMedError: for a part that does not exist, or one without references.
    """
    cases = find_cases(dataset, spec)
    if part != "all":
        path = dataset.path / dataset.splits
        if part not in PARTS or not path.is_file():
            found = f"part {part!r}" if path.is_file() else f"no {path.name}"
            raise SfgMedError(path, f"a part among {', '.join(PARTS)}", found, "use --part all for every case")
        names = read_splits(path, [case.name for case in cases])[part]
        cases = [case for case in cases if case.name in names]
    chosen = [case for case in cases if any(task.name in case.files for task in spec.volume_tasks)]
    if not chosen:
        raise SfgMedError(dataset.path, f"cases of part {part} with a reference", "none", "choose another --part")
    return chosen


def with_bar(cases: Sequence[Case], title: str) -> Any:
    """The cases, with a bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    return track(cases, title, console=Console(stderr=True), transient=True)


def stored_sums(predictor: Any, case: Case, out: Path) -> Sums:
    """Sums of a case, from an earlier call or by predicting it."""
    path = out / "cases" / case.name / f"samples{predictor.samples}.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    spec: ModelSpec = predictor.spec
    volume = read_volume(case.files[spec.input_name], role=spec.input_name.upper())
    sums = {"case": case.name, **case_sums(predictor.predict(volume, case=case.name), spec, case)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, sums)
    return sums


def write_results(out: Path, spec: ModelSpec, calibration: Sums, records: dict[int, list[Sums]]) -> None:
    """Write ``cases.csv``, ``calibration.json`` and the page, and say where they are."""
    from sfg_med.report.calibration_page import write_calibration_page

    rows = [case_row(spec, samples, sums) for samples, found in records.items() for sums in found]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(out / "cases.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, restval="")
        table.writeheader()
        table.writerows(rows)
    write_json(out / "calibration.json", calibration)
    page = write_calibration_page(out, calibration)
    for result in calibration["results"]:
        for task, values in result["images"].items():
            typer.echo(f"{result['samples']} passes, {task}: z SD {values['z_sd']:.2f}, "
                       f"{100 * values['coverage_95']:.0f} % of the truth in 95 % intervals")  # fmt: skip
    typer.echo(f"{out / 'calibration.json'}, {out / 'cases.csv'}, {page}")


if __name__ == "__main__":
    run_command(main)
