# SPDX-License-Identifier: Apache-2.0
"""``sfg-med evaluate``: metrics of predictions that exist already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sfg_med.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from sfg_med.metrics import Detail
    from sfg_med.report.evaluation import CaseJob, CaseScore

_WIDTH = 120


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    prediction: Annotated[
        Path | None, typer.Option("--prediction", "-p", help="Folder that sfg-med predict wrote.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", "-r", help="Dataset folder (<case>/ct, seg, mask) or JSON.")
    ] = None,
    split: Annotated[str, typer.Option(help="Only this split of REFERENCE/splits.json, such as test.")] = "",
    cases: Annotated[str, typer.Option(help="Only these cases: a text file, one a line, or FILE.json:KEY.")] = "",
    spec: Annotated[Path | None, typer.Option(help="JSON model specification in place of the manifest's.")] = None,
    definition: Annotated[
        str, typer.Option(help="synthrad2023 or synthrad2025: clip HU as they do, not to the task's range.")
    ] = "",
    tissues: Annotated[
        Path | None, typer.Option(help='JSON of tissues by HU of the reference: {"air": [null, -200], ...}.')
    ] = None,
    surface_mm: Annotated[float, typer.Option(min=0.0, help="Tolerance of the surface Dice in mm.")] = 2.0,
    dose_pred: Annotated[Path | None, typer.Option(help="Dose grid to judge by the gamma index.")] = None,
    dose_ref: Annotated[Path | None, typer.Option(help="Dose grid to judge by.")] = None,
    gamma: Annotated[
        list[str] | None, typer.Option(help="Criterion of the gamma index, such as 2%/2mm; may be repeated.")
    ] = None,
    dose_cutoff: Annotated[
        float,
        typer.Option(min=0.0, max=100.0, help="Percent of the reference's maximum; points below are not judged."),
    ] = 10.0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Cases scored at a time.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print failures only.")] = False,
) -> None:
    """Compare predictions with a dataset: image metrics by SynthRAD's definitions, organs, surfaces, volumes.

    Writes OUTPUT/metrics.csv (a row per case) and OUTPUT/summary.json; with two dose grids OUTPUT/dose.json. A case
    whose files are missing or lie on another grid fails alone. Exit codes: 0 all cases scored, 1 some case failed, 2
    nothing scored.
    """
    from sfg_med.errors import SfgMedError
    from sfg_med.report.case_files import open_predictions, read_case_list, read_json
    from sfg_med.report.evaluation import plan
    from sfg_med.report.evaluation_run import write_results
    from sfg_med.spec import ModelSpec

    if bool(dose_pred) != bool(dose_ref):
        raise SfgMedError("--dose-pred and --dose-ref", "both", "one of them", "give the other one, too")
    if dose_pred and dose_ref:
        _dose(output, dose_pred, dose_ref, gamma, dose_cutoff, quiet)
    if prediction is None or reference is None:
        if dose_pred and prediction is None and reference is None:
            return
        raise SfgMedError("-p and -r", "both, or two dose grids", "none or one", "give predictions and references")
    if split and cases:
        raise SfgMedError("--split and --cases", "one of the two", "both", "leave one out")
    limits, detail = _limits(definition), _detail(tissues, surface_mm)
    chosen = read_case_list(f"{reference / 'splits.json'}:{split}" if split else cases) if split or cases else None
    given = ModelSpec.from_dict(read_json(spec, "a model specification"), where=str(spec)) if spec else None
    predictions = open_predictions(prediction, given)
    todo, references, left_out = plan(predictions, reference, chosen, limits, detail)
    scores = _score(todo, jobs, quiet)
    summary = write_results(output, predictions, references, todo, scores, left_out)
    if not quiet:
        _show(summary, output)
    for failure in summary["failures"]:
        typer.echo(printable(f"failed: {failure['error']}"), err=True)
    if summary["failed"]:
        raise typer.Exit(1)


def _limits(definition: str) -> tuple[float, float] | None:
    from sfg_med.errors import SfgMedError
    from sfg_med.metrics import DEFINITIONS

    if definition and definition not in DEFINITIONS:
        raise SfgMedError("--definition", " or ".join(DEFINITIONS), repr(definition), "choose one of them")
    return DEFINITIONS[definition] if definition else None


def _detail(tissues: Path | None, surface_mm: float) -> Detail:
    from sfg_med.metrics import Detail
    from sfg_med.report.case_files import read_tissues

    return Detail(read_tissues(tissues), surface_mm) if tissues else Detail(surface_mm=surface_mm)


def _dose(
    output: Path, evaluated: Path, reference: Path, gamma: Sequence[str] | None, cutoff: float, quiet: bool
) -> None:
    from sfg_med.report.dose_check import DEFAULT, write_dose_check

    data = write_dose_check(output, evaluated, reference, gamma or DEFAULT, cutoff)
    for criterion, found in data["gamma"].items() if not quiet else ():
        rate = "no point above the cut-off" if not found["points"] else f"{found['pass_percent']:.2f} % pass"
        typer.echo(f"gamma {criterion}: {rate}, {found['points']} points")
    if not quiet:
        typer.echo(f"{output / 'dose.json'}. {data['notice']}")


def _score(todo: Sequence[CaseJob], jobs: int, quiet: bool) -> list[CaseScore]:
    from rich.console import Console
    from rich.progress import track

    from sfg_med.report.evaluation_run import score_cases

    found = score_cases(todo, jobs)
    console = Console(stderr=True)
    return list(track(found, "scoring", total=len(todo), console=console, transient=True, disable=quiet))


def _show(summary: dict[str, Any], output: Path) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)  # in a log file the default of 80 columns would cut the numbers
    console.print(_table(summary))
    for name, trivial in summary["trivial_model"].items():
        unit = summary["columns"][name]["unit"]
        mean = f"{trivial['mean']:.1f} {unit}"
        console.print(f"Trivial model ({trivial['predicts']:.0f} {unit} everywhere inside the mask): MAE {mean}")
    if summary["ranking"]:
        names = printable(", ".join(row["case"] for row in summary["ranking"][:5]))
        console.print(f"Largest errors first (image and organs): {names}", soft_wrap=True, markup=False)
    for name, found in summary["calibration"].items():
        part = f"{100 * found['coverage_95']:.0f} % of the truth in 95 % intervals"
        console.print(f"Uncertainty of {name}: z SD {found['z_sd']:.2f}, {part}")
    if summary["left_out"]:
        console.print(f"Left out, as predict was not asked for them: {len(summary['left_out'])} reference cases")
    files = printable(f"{output / 'metrics.csv'}, {output / 'summary.json'}")
    console.print(f"{files}. {summary['notice']}", soft_wrap=True, markup=False)


def _table(summary: dict[str, Any]) -> Table:
    from rich.table import Table

    from sfg_med.metrics import columns
    from sfg_med.spec import ModelSpec

    simulated = ", simulated data" if summary["simulated"] else ""
    table = Table(title=f"Scored {summary['cases'] - summary['failed']} of {summary['cases']} cases{simulated}")
    for heading in ("metric", "mean ± SD", "95 % interval", "median", "worst case", "n"):
        table.add_column(heading, justify="left" if heading == "metric" else "right", no_wrap=True)
    contract = [column.name for column in columns(ModelSpec.from_dict(summary["spec"]))]
    for name in contract:  # the further columns are in the files: they would fill a screen
        table.add_row(*_cells(summary["columns"][name]))
    return table


def _cells(column: dict[str, Any]) -> list[str]:
    title = f"{column['title']} ({column['unit']})" if column["unit"] else column["title"]
    from rich.markup import escape

    if not column["n"]:
        return [title, "-", "-", "-", "-", "0"]
    digits = 1 if column["unit"] else 3
    spread = f" ± {column['std']:.{digits}f}" if column["std"] is not None else ""
    interval = " to ".join(f"{end:.{digits}f}" for end in column["ci95"] or [])
    worst = column["worst"][0]
    return [
        title,
        f"{column['mean']:.{digits}f}{spread}",
        interval or "-",
        f"{column['median']:.{digits}f}",
        escape(printable(f"{worst['value']:.{digits}f} {worst['case']}")),
        str(column["n"]),
    ]
