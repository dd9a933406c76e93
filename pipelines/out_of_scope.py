# SPDX-License-Identifier: Apache-2.0
"""How often inputs that are no MR of a pelvis get a flag: ``python -m pipelines.out_of_scope --data DIR --out DIR``.

Predicts folders of inputs, a family each, with the shipped model or another, and counts flags: ``out_of_scope.csv`` (a
row for each volume) and ``.md`` (a row for each family). The same call goes on where it was stopped. The folders of
predictions hold patients: they stay where the data may be.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from pipelines.command import run_command
from pipelines.demonstration import sfg_med
from pipelines.out_of_scope_inputs import FAMILIES, write_inputs
from sfg_med.data.atomic import atomic_path, write_text

OUT_OF_SCOPE = ("position:", "unlike_training:")


def main(
    data: Annotated[Path, typer.Option("--data", help="Folder of the real data sets.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    model: Annotated[Path | None, typer.Option("--model", "-m", help="Default: the demonstration model.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch takes.")] = 0,
) -> None:
    """Count the flags of inputs that are no MR of a pelvis, and of some that are. For research only."""
    rows: list[dict[str, str]] = []
    for family in FAMILIES:
        inputs, results = out / "inputs" / family.name, out / "predictions" / family.name
        write_inputs(family, data, inputs)
        options = ("--model", model) if model else ()
        sfg_med("predict", "--input", inputs, "--output", results, "--threads", threads, "--quiet", *options)
        with (results / "cases.csv").open(newline="", encoding="utf-8") as file:
            rows += [
                {"family": family.name, "case": row["case"], "flags": row["flags"]} for row in csv.DictReader(file)
            ]
    with atomic_path(out / "out_of_scope.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ("family", "case", "flags"), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    text = markdown(rows)
    write_text(out / "out_of_scope.md", text)
    typer.echo(f"\n{text}")


def markdown(rows: list[dict[str, str]]) -> str:
    """Volumes of each family, how many are flagged as out of scope, and how many are so or lack an organ."""
    lines = ["| input | volumes | `position`, `unlike_training` | or `empty` |", "| --- | --- | --- | --- |"]
    for family in FAMILIES:
        flags = [row["flags"].split(";") for row in rows if row["family"] == family.name]
        counts = [sum(any(f.startswith(k) for f in case for k in kinds) for case in flags) for kinds in _KINDS]
        lines.append(f"| {family.title} | {len(flags)} | {counts[0]} | {counts[1]} |")
    return "\n".join(lines) + "\n"


_KINDS = (OUT_OF_SCOPE, (*OUT_OF_SCOPE, "empty"))


if __name__ == "__main__":
    run_command(main)
