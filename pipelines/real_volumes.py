# SPDX-License-Identifier: Apache-2.0
"""What models do on real MR never trained on: ``python -m pipelines.real_volumes -m NAME=MODEL --data DIR --out DIR``.

Predicts as ``sfg-med predict`` does, into ``OUT/NAME``, and scores what real references there are. Writes
``real_volumes.csv`` (a row for each model and case), ``.json`` (also the goals), ``.md`` and ``.svg``, of all models in
``OUT``, also those of earlier calls. The same call goes on where it was stopped. ``OUT/pictures`` and ``qc.html`` show
patients: they stay where the data may be.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.command import run_command
from pipelines.real_volumes_cases import SETS, find_real_cases
from pipelines.real_volumes_run import SCORES, run_model
from pipelines.runs import check_conditions
from sfg_med.data.atomic import atomic_path, write_json, write_text
from sfg_med.data.lock import locked, owner
from sfg_med.errors import SfgMedError
from sfg_med.inference.manifest import now

SCHEMA = "sfg_med.real_volumes/1"
_MODEL = typer.Option("--model", "-m", help="NAME=MODEL (file or folder of a run), again for each model. "
                      "Default: the demonstration model.")  # fmt: skip


def main(
    data: Annotated[Path, typer.Option("--data", help="Folder of the real data sets.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    model: Annotated[list[str] | None, _MODEL] = None,
    half: Annotated[str, typer.Option(help="choose: what models may be chosen by; report; all.")] = "all",
    sets: Annotated[str, typer.Option(help="Data sets, parted by commas.")] = ",".join(SETS),
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    overlap: Annotated[float, typer.Option(min=0.0, max=0.95, help="Part that sliding windows share.")] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Predict finished cases again.")] = False,
    pictures: Annotated[bool, typer.Option(help="Draw PNG pictures and qc.html.")] = True,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all tables as Markdown.")] = False,
) -> None:
    """Score models on real MR that was never trained on. For research only, not for clinical use."""
    cases = find_real_cases(data, [name.strip() for name in sets.split(",")], half)
    models = parse_models(model or [])
    if threads:
        import torch

        torch.set_num_threads(threads)
    options: dict[str, Any] = {"device": device, "precision": precision, "overlap": overlap, "samples": 1}
    check_conditions(out, {"data": str(data.resolve()), **options})
    for name, path in models.items():
        with locked(out / name) as mine:
            if not mine:
                typer.echo(f"{name}: left to {owner(out / name)}, which is doing it")
                continue
            run_model(name, path, cases, out, options, overwrite=overwrite, pictures=pictures)
    document = collect(out, list(models))
    write_results(out, document)
    _print(out, document, as_markdown=markdown)
    if any(document["models"][name]["summary"]["errors"] for name in models if name in document["models"]):
        raise typer.Exit(1)


def parse_models(words: Sequence[str]) -> dict[str, Path]:
    """``NAME=MODEL`` words to name and model file; without words the demonstration model.

    Raises:
        SfgMedError: for a word without name, a name twice or with a slash, or a model that is not there.
    """
    from sfg_med.model_path import demonstration_model, find_model

    if not words:
        return {"demonstration": find_model(demonstration_model())}
    found: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not (name and path) or name in found or name in ("pictures", "inputs") or not _is_file_name(name):
            raise SfgMedError("-m", "NAME=MODEL, each with a plain name of its own", repr(word), "write -m new=RUN")
        found[name] = find_model(Path(path))
    return found


def collect(out: Path, first: Sequence[str] = ()) -> dict[str, Any]:
    """The scores of all models in a folder, with their summaries; some first, in their order."""
    from pipelines.real_volumes_summary import summarise

    stored = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob(f"*/{SCORES}"))]
    stored.sort(key=lambda model: first.index(model["name"]) if model["name"] in first else len(first))
    models = {model["name"]: {**model, "summary": summarise(model["rows"])} for model in stored}
    return {"schema": SCHEMA, "created": now(), "notice": "Research only, not for clinical use.", "models": models}


def write_results(out: Path, document: Mapping[str, Any]) -> None:
    """Write the table, the summary, the Markdown and the figure."""
    from pipelines.real_volumes_figure import draw
    from pipelines.real_volumes_tables import markdown

    rows = [row for model in document["models"].values() for row in model["rows"]]
    names = list(dict.fromkeys(column for row in rows for column in row))
    with atomic_path(out / "real_volumes.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    write_json(out / "real_volumes.json", document)
    write_text(out / "real_volumes.md", markdown(document["models"]))
    draw(document["models"], out / "real_volumes.svg")


def _print(out: Path, document: Mapping[str, Any], *, as_markdown: bool) -> None:
    from pipelines.real_volumes_tables import goal_table, markdown

    if as_markdown:
        typer.echo(markdown(document["models"]))
        return
    typer.echo(goal_table(document["models"]))
    for name, model in document["models"].items():
        counts = model["summary"]
        typer.echo(f"{name}: {counts['cases']} cases, {counts['errors']} failed, {counts['implausible']} implausible")
    typer.echo(", ".join(str(out / f"real_volumes.{kind}") for kind in ("csv", "json", "md", "svg")))


def _is_file_name(name: str) -> bool:
    return Path(name).name == name and not name.startswith(".")


if __name__ == "__main__":
    run_command(main)
