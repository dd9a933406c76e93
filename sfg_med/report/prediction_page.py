# SPDX-License-Identifier: Apache-2.0
"""``qc.html``: everything a person needs to accept or reject the cases of a prediction run, in one file."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sfg_med.data.dicom_out.structures import structures_of
from sfg_med.errors import SfgMedError, printable
from sfg_med.inference.measures import measure_columns
from sfg_med.metrics import columns as metric_columns
from sfg_med.report.case_files import MANIFEST, Predictions, open_predictions
from sfg_med.report.case_pictures import CT_WINDOWS, CasePictures, draw_case
from sfg_med.report.cohort import Cohort
from sfg_med.report.flags import flag_words
from sfg_med.report.html import number, render
from sfg_med.report.organ_charts import cohort_svg, histogram_svg
from sfg_med.report.references import Case, References, open_references
from sfg_med.spec import ModelSpec

logger = logging.getLogger(__name__)
PAGE = "qc.html"
PICTURED_CASES = 500


@dataclass(frozen=True)
class OrganRow:
    """A line of a case's table: organ, its colour on the pictures, cells under the table's headings, and charts."""

    organ: str
    colour: str
    cells: tuple[str, ...]
    cohort: Markup | None = None
    histogram: Markup | None = None
    outside: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseView:
    """One case as the template shows it."""

    name: str
    record: Mapping[str, Any]
    flags: tuple[str, ...]
    metrics: tuple[tuple[str, str], ...]
    organs: tuple[OrganRow, ...]
    pictures: CasePictures | None
    no_pictures: str


def write_qc_page(
    out_dir: Path,
    metrics_csv: Path | None = None,
    reference_dir: Path | None = None,
    *,
    pictured: int = PICTURED_CASES,
) -> Path:
    """Write ``OUT/qc.html`` from what ``sfg-med predict`` left in a folder.

    Args:
        out_dir: folder with ``manifest.json``.
        metrics_csv: table of ``sfg-med evaluate``, to show beside each case.
        reference_dir: dataset folder, to show the true image, the error and the true organs.
        pictured: number of cases with pictures (about 100 to 400 kB each); flagged cases come first.

    Returns:
        Path of the page.

    Raises:
        SfgMedError: if the folder has no manifest, or the table cannot be read.
    """
    predictions = open_predictions(out_dir)
    if not predictions.manifest:
        raise SfgMedError(out_dir / MANIFEST, "the manifest of sfg-med predict", "no such file", "predict first")
    records = [predictions.records[case] for case in predictions.records]
    drawn = _with_pictures(records, pictured)
    spec = predictions.spec
    references = open_references(reference_dir, spec) if reference_dir else None
    truth = references.by_record(predictions) if references else {}
    scores = read_metrics(metrics_csv) if metrics_csv else {}
    # Where the dataset is not one folder per case, the manifest calls its cases by their files.
    scores |= {printable(r): scores[printable(c.name)] for r, c in truth.items() if printable(c.name) in scores}
    cohort = Cohort.of(predictions, records, scores)
    return render(
        "prediction.html.j2",
        out_dir / PAGE,
        manifest=predictions.manifest,
        simulated=_is_simulated(predictions, references),
        reference=reference_dir,
        cohort=cohort,
        flagged=sum(bool(record.get("flags")) for record in records),
        headings=_headings(spec, bool(scores)),
        windows=CT_WINDOWS,
        cases=(_view(predictions, record, cohort, truth, drawn) for record in records),
    )


def read_metrics(path: Path) -> dict[str, dict[str, float]]:
    """Read ``metrics.csv``: case name to column to value; blanks are NaN."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {row.pop("case"): {k: float(v) if v else math.nan for k, v in row.items()} for row in rows}
    except (OSError, KeyError, ValueError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise SfgMedError(path, "the metrics.csv of sfg-med evaluate", found, "evaluate again") from error


def _view(
    predictions: Predictions,
    record: Mapping[str, Any],
    cohort: Cohort,
    truth: Mapping[str, Case],
    drawn: set[str],
) -> CaseView:
    case = str(record["case"])
    pictures, reason = None, ""
    if record["status"] == "done" and case in drawn:
        try:
            pictures = draw_case(predictions, case, truth.get(case))
        except Exception as error:  # a page without one case's pictures is better than no page
            logger.debug("no pictures of %s", case, exc_info=True)
            reason = f"No pictures: {' '.join(str(error).split())}"
    elif record["status"] == "done":
        reason = f"No pictures: they are drawn for {len(drawn)} cases only, flagged ones first."
    score = cohort.scores.get(printable(case), {})
    spec = predictions.spec
    shown = tuple(
        (f"{c.title} ({c.unit})" if c.unit else c.title, number(score.get(c.name), 1 if c.unit else 3))
        for c in metric_columns(spec)
        if score and c.metric not in ("dice", "hd95")
    )
    flags = tuple(flag_words(flag) for flag in record.get("flags", ()))
    rows = _organ_rows(spec, record, cohort, pictures)
    return CaseView(case, record, flags, shown, rows, pictures, reason)


def _with_pictures(records: list[Mapping[str, Any]], limit: int) -> set[str]:
    done = [record for record in records if record["status"] == "done"]
    ranked = sorted(done, key=lambda record: not record.get("flags"))
    return {str(record["case"]) for record in ranked[:limit]}


def _is_simulated(predictions: Predictions, references: References | None) -> bool:
    folders = {Path(record["input"]).parent.parent for record in predictions.records.values() if record.get("input")}
    source = predictions.manifest.get("options", {}).get("input")
    folders |= {Path(str(source))} if source else set()
    if references and references.is_simulated:
        return True
    return any((folder / "simulation.json").is_file() for folder in folders)


def _organs(spec: ModelSpec) -> list[str]:
    return [organ for task in spec.label_tasks for organ in task.labels]


def _colours(spec: ModelSpec) -> list[str]:
    return [structure.hex_colour for task in spec.label_tasks for structure in structures_of(task)]


def _measure_groups(spec: ModelSpec) -> list[list[str]]:
    """Columns of ``cases.csv``, one list of all organs for each kind of measure."""
    names, count = measure_columns(spec), len(_organs(spec))
    return [names[i : i + count] for i in range(0, len(names), count)] if count else []


def _headings(spec: ModelSpec, scored: bool) -> list[str]:
    means = [f"mean {image.name} ({image.unit})" for image in spec.image_tasks]
    return ["volume (ml)", *means, *(["Dice", "HD95 (mm)"] if scored else [])]


def _organ_rows(
    spec: ModelSpec, record: Mapping[str, Any], cohort: Cohort, pictures: CasePictures | None
) -> tuple[OrganRow, ...]:
    measures, score = record.get("measures", {}), cohort.scores.get(printable(str(record["case"])), {})
    groups = _measure_groups(spec)
    pairs = {metric: [c.name for c in metric_columns(spec) if c.metric == metric] for metric in ("dice", "hd95")}
    rows = []
    for i, (organ, colour) in enumerate(zip(_organs(spec), _colours(spec), strict=True)):
        cells = [number(measures.get(group[i])) for group in groups]
        if cohort.scores:
            cells += [number(score.get(pairs["dice"][i]), 3), number(score.get(pairs["hd95"][i]), 1)]
        name, volume, all_volumes = organ.replace("_", " "), measures.get(groups[0][i]), cohort.volumes(organ)
        chart = None
        if volume is not None:
            limit = cohort.limits.get("volume_ml", {}).get(organ)
            chart = cohort_svg(all_volumes, volume, limit, f"Volume of {name}")
        counts = pictures.histograms.get(organ) if pictures else None
        drawn = histogram_svg(counts, spec.image_tasks[0].unit, name, colour) if counts else None
        rows.append(OrganRow(name, colour, tuple(cells), chart, drawn, cohort.remarks(organ, measures)))
    return tuple(rows)
