# SPDX-License-Identifier: Apache-2.0
"""All cases of a prediction run together: the table of ``qc.html`` and what a single case is compared with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sfg_med.errors import printable
from sfg_med.inference.plausible import Limits, parse_limits
from sfg_med.metrics import case_dice_mean
from sfg_med.report.case_files import Predictions
from sfg_med.report.flags import flag_kind, flag_words, kind_words
from sfg_med.report.html import number
from sfg_med.spec import ModelSpec

Record = Mapping[str, Any]
Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Cell:
    """What a table shows and what it is sorted by; ``flag`` says why it is marked."""

    text: str
    value: float
    flag: str = ""


@dataclass(frozen=True)
class TableRow:
    """One case in the table."""

    case: str
    status: str
    kinds: tuple[str, ...]
    flags: tuple[str, ...]
    cells: tuple[Cell, ...]
    error: str = ""


@dataclass(frozen=True)
class Cohort:
    """What is known of all cases.

    Args:
        spec: of the model.
        records: of the manifest, in its order.
        scores: case to metrics, empty without references.
        limits: of plausible measures, as the manifest kept them.
    """

    spec: ModelSpec
    records: Sequence[Record]
    scores: Scores
    limits: Limits

    @classmethod
    def of(cls, predictions: Predictions, records: Sequence[Record], scores: Scores) -> Cohort:
        """Cohort of a folder of predictions."""
        return cls(predictions.spec, records, scores, parse_limits(predictions.manifest.get("limits") or {}))

    def volumes(self, organ: str) -> list[float]:
        """Volumes of an organ in ml, of the cases that were predicted."""
        found = (record.get("measures", {}).get(f"volume_ml_{organ}") for record in self.records)
        return [float(value) for value in found if value is not None]

    def remarks(self, organ: str, measures: Mapping[str, float]) -> tuple[str, ...]:
        """One sentence for each measure of the organ that lies outside its limits, with the limits' source."""
        said = []
        for measure, organs in self.limits.items():
            limit, value = organs.get(organ), measures.get(f"{measure}_{organ}")
            if limit and value is not None and value == value and not limit.holds(value):
                name, _, unit = measure.rpartition("_") if "_" in measure else (measure, "", "nats")
                unit = {"hu": "HU"}.get(unit, unit)
                low, high = (number(end, 1).removesuffix(".0") for end in (limit.low, limit.high))
                words = name.replace("_", " ").replace("std", "uncertainty")
                said.append(f"{words} {value:.1f} {unit}, expected {low} to {high} ({limit.source})")
        return tuple(said)

    @property
    def headings(self) -> list[tuple[str, str]]:
        """Heading and unit of the numeric columns."""
        unit = self.spec.image_tasks[0].unit if self.spec.image_tasks else ""
        metrics = [("MAE", unit), ("mean Dice", "")] if self.scores else []
        sampled = [("uncertainty", self._std[1])] if self._std else []
        organs = [(organ.replace("_", " "), "ml") for organ in self._organs]
        return [*metrics, *sampled, *organs, ("time", "s")]

    @property
    def rows(self) -> list[TableRow]:
        """The table, in the order of the manifest."""
        return [self._row(record) for record in self.records]

    @property
    def kinds(self) -> list[tuple[str, str, int]]:
        """Kind of each flag that occurs, its words, and the number of cases that have it; the most frequent first."""
        counts = Counter(kind for record in self.records for kind in {flag_kind(f) for f in record.get("flags", ())})
        return [(kind, kind_words(kind), count) for kind, count in counts.most_common()]

    @property
    def _organs(self) -> list[str]:
        return [organ for task in self.spec.label_tasks for organ in task.labels]

    @property
    def _std(self) -> tuple[str, str] | None:
        """Start of the columns with the uncertainty of the first image, and its unit."""
        names = {name for record in self.records for name in record.get("measures", {}) if name.startswith("std_")}
        unit = self.spec.image_tasks[0].unit if self.spec.image_tasks else ""
        organ = next((o for o in self._organs if any(name.endswith(f"_{o}") for name in names)), None)
        if organ is None:
            return None
        return next(name for name in sorted(names) if name.endswith(f"_{organ}")).removesuffix(organ), unit

    def _row(self, record: Record) -> TableRow:
        case, flags, measures = str(record["case"]), tuple(record.get("flags", ())), record.get("measures", {})
        cells = []
        if self.scores:
            score = self.scores.get(printable(case), {})
            mae = next((value for name, value in score.items() if name.startswith("mae_")), math.nan)
            cells += [_cell(mae), _cell(case_dice_mean(score) if score else math.nan, 3)]
        if self._std:
            found = [measures[name] for o in self._organs if (name := f"{self._std[0]}{o}") in measures]
            cells.append(_cell(sum(found) / len(found) if found else math.nan))
        for organ in self._organs:
            marks = [flag_words(f) for f in flags if f.partition(":")[2] == organ]
            cells.append(_cell(measures.get(f"volume_ml_{organ}"), 1, "; ".join(marks)))
        cells.append(_cell(record.get("seconds")))
        kinds = tuple(dict.fromkeys(flag_kind(flag) for flag in flags))
        words = tuple(map(flag_words, flags))
        return TableRow(case, str(record["status"]), kinds, words, tuple(cells), str(record.get("error") or ""))


def _cell(value: float | None, digits: int = 1, flag: str = "") -> Cell:
    known = math.nan if value is None else float(value)
    return Cell(number(known, digits), known, flag)
