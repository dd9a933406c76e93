# SPDX-License-Identifier: Apache-2.0
"""What a change of a model costs: the same cases predicted before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.cases import MASK, Case
from sfg_med.data.volumes import read_volume
from sfg_med.inference.predictor import Predictor
from sfg_med.metrics import masked_mae, organ_dice

# A change is accepted below these: half the step of an int16 CT, and what a second reader's Dice never resolves.
MOST_HU, MOST_DICE = 1.0, 0.001
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """Between the predictions of one model and of its changed form, means over cases.

    Args:
        cases: number of cases.
        hu: mean absolute difference of the images inside the body, in their unit; the largest of all image tasks.
        mae: rise of the mean absolute error against the references, in the images' unit; NaN without references.
        dice: fall of the mean Dice of the organs against the references, or, where there are none, one minus the Dice
            of one prediction against the other. An organ that is found where there is none has Dice 0, one that is
            nowhere is left out.
    """

    cases: int
    hu: float
    mae: float
    dice: float

    @property
    def accepted(self) -> bool:
        """Whether the images differ by less than 1 HU and the organs by less than 0.001 Dice."""
        return (math.isnan(self.hu) or self.hu < MOST_HU) and (math.isnan(self.dice) or self.dice < MOST_DICE)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with the verdict."""
        values = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}
        return {**values, "accepted": self.accepted}

    def __str__(self) -> str:
        parts = [f"images differ by {self.hu:.3f} HU"] if not math.isnan(self.hu) else []
        parts += [f"MAE {self.mae:+.3f} HU"] if not math.isnan(self.mae) else []
        parts += [f"mean Dice {-self.dice:+.5f}"] if not math.isnan(self.dice) else []
        return f"{', '.join(parts)} over {self.cases} cases"


def compare_predictions(before: Predictor, after: Predictor, cases: Sequence[Case]) -> Difference:
    """Predict cases with both.

    Args:
        before: the model as it was.
        after: the changed one, of the same tasks.
        cases: cases with an image and, for metrics, references.

    Raises:
        SfgMedError: for a file that cannot be read.
    """
    rows = [_compare(before, after, case) for case in cases]
    hu, mae, dice = (_mean([row[i] for row in rows]) for i in range(3))
    return Difference(len(rows), hu, mae, dice)


def _compare(before: Predictor, after: Predictor, case: Case) -> tuple[float, float, float]:
    volume = read_volume(case.files[before.spec.input_name])
    first, second = (p.predict(volume, case=case.name) for p in (before, after))
    mask = read_volume(case.files[MASK], blank_ok=True).array if MASK in case.files else None
    hu, mae, dice = [], [], []
    for image_task in before.spec.image_tasks:
        a, b = first.images[image_task.name], second.images[image_task.name]
        hu.append(masked_mae(a, b, mask))
        if image_task.name in case.files and image_task.normalize != "zscore":
            truth = read_volume(case.files[image_task.name], role=image_task.name).array
            mae.append(masked_mae(b, truth, mask) - masked_mae(a, truth, mask))
    for label_task in before.spec.label_tasks:
        a, b = first.labels[label_task.name], second.labels[label_task.name]
        if label_task.name in case.files:
            truth = read_volume(case.files[label_task.name], role=label_task.name, blank_ok=True).array
            names = case.labels[label_task.name]
            pairs = [(value, truth == names[name]) for name, value in label_task.labels.items() if name in names]
            dice += [_fall(a == v, b == v, known) for v, known in pairs]
        else:
            dice += [_fall(a == v, b == v, a == v) for v in label_task.labels.values()]
    return max(hu, default=math.nan), _mean(mae), _mean(dice)


def _fall(before: Mask, after: Mask, truth: Mask) -> float:
    """Fall of an organ's Dice; NaN where nobody has the organ."""
    if not (before.any() or after.any() or truth.any()):
        return math.nan
    first, second = (organ_dice(p, truth) if truth.any() else float(not p.any()) for p in (before, after))
    return first - second


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan
