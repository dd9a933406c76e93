# SPDX-License-Identifier: Apache-2.0
"""One model on all real volumes: predict, score, draw, and keep a row for each case."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from pipelines.real_volumes_cases import SETS, RealCase, image_file
from sfg_med.data.atomic import write_json
from sfg_med.errors import SfgMedError

SCORES = "scores.json"
INTERRUPTED = 130


def run_model(
    name: str,
    path: Path,
    cases: Sequence[RealCase],
    out: Path,
    options: Mapping[str, Any],
    *,
    overwrite: bool = False,
    pictures: bool = True,
) -> None:
    """Predict and score all cases with one model; scores are kept in ``OUT/NAME/scores.json`` after every case.

    Raises:
        SfgMedError: if the folder holds another model's results.
    """
    from sfg_med.inference.predictor import Predictor
    from sfg_med.inference.run import run_cases
    from sfg_med.model_file import load_model

    loaded = load_model(path)
    folder = out / name
    by_key = {case.key: case for case in cases}
    rows = _former(folder / SCORES, loaded.sha256)
    trained_on = loaded.metadata.get("provenance", {}).get("dataset", [])
    about = {"name": name, "path": str(loaded.path), "sha256": loaded.sha256, "trained_on": trained_on}

    def keep(record: dict[str, Any]) -> None:
        case = by_key[record["case"]]
        row = score_row(name, case, loaded.spec, record, folder)
        rows[case.key] = row
        write_json(folder / SCORES, {**about, "rows": sorted(rows.values(), key=_place)})
        if pictures and not row["error"]:
            _draw(out / "pictures" / name / f"{case.key.replace('/', '_')}.png", case, loaded.spec, record, folder)
        number = list(by_key).index(case.key) + 1
        typer.echo(f"[{number}/{len(cases)}] {name} {case.key}: {_words(row)}")

    predictor = Predictor(loaded, **options)
    jobs = [_job(case, out / "inputs") for case in cases]
    result = run_cases(predictor, jobs, folder, options=dict(options), overwrite=overwrite, progress=keep)
    if result.interrupted:
        typer.echo("interrupted: the same call goes on with the cases that are left", err=True)
        raise typer.Exit(INTERRUPTED)
    if pictures:
        from sfg_med.report.prediction_page import write_qc_page

        write_qc_page(folder)


def score_row(name: str, case: RealCase, spec: Any, record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """One row of the table; what goes wrong in a case is its ``error``, and the other cases go on."""
    from pipelines.real_volumes_scores import flags_of, is_plausible, score_case

    error, flags = record["error"], []
    scores: dict[str, float] = {}
    if not error:
        try:
            scores = score_case(case, spec, record, folder)
            flags = flags_of(case, record)
        except Exception as problem:
            error = f"not scored: {problem if isinstance(problem, SfgMedError) else repr(problem)}"
    return {
        "model": name,
        "set": case.collection,
        "case": case.name,
        "half": case.half,
        "group": case.group,
        "error": error,
        "seconds": record["seconds"],
        "plausible": not error and is_plausible(flags),
        "flags": ";".join(flags),
        "note": case.note,
        **{column: _plain(value) for column, value in scores.items()},
    }


def _job(case: RealCase, inputs: Path) -> Any:
    from sfg_med.inference.inputs import Job

    try:
        return Job(case.key, image_file(case, inputs), case.key)
    except SfgMedError as error:
        return Job(case.key, case.image, case.key, str(error))


def _former(path: Path, sha256: str) -> dict[str, dict[str, Any]]:
    """Rows of an earlier call by the same model: of other sets or halves, perhaps."""
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {f"{r['set']}/{r['case']}": r for r in stored["rows"]} if stored["sha256"] == sha256 else {}


def _draw(path: Path, case: RealCase, spec: Any, record: Mapping[str, Any], folder: Path) -> None:
    """A picture is an extra: without it the numbers are still good, so a failure is only said."""
    from pipelines.real_volumes_pictures import write_picture

    if record["skipped"] and path.is_file():
        return
    try:
        write_picture(path, case, spec, record, folder)
    except Exception as error:
        typer.echo(f"warning: {path} was not written: {' '.join(repr(error).split())[:300]}", err=True)


def _words(row: Mapping[str, Any]) -> str:
    if row["error"]:
        return f"failed: {row['error']}"
    return ", ".join(_parts(row))


def _parts(row: Mapping[str, Any]) -> Iterator[str]:
    dice = {column.removeprefix("dice_"): value for column, value in row.items() if column.startswith("dice_")}
    for organ, value in dice.items():
        yield f"Dice {organ} {value:.3f}" if value is not None else f"{organ} without reference"
    if not dice:
        yield f"prostate {row.get('volume_ml_prostate') or 0:.0f} ml"
    yield f"{row['seconds']:.1f} s" if row["seconds"] is not None else "finished before"


def _plain(value: float) -> float | None:
    """JSON has no NaN; nobody needs more than six digits."""
    return float(f"{value:.6g}") if value == value else None


def _place(row: Mapping[str, Any]) -> tuple[int, str]:
    return list(SETS).index(row["set"]), row["case"]
