# SPDX-License-Identifier: Apache-2.0
"""The columns of a case beyond the contract: tissues and organs, surfaces and volumes, maps of uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfg_med.data.agreement import check_same_grid
from sfg_med.data.volumes import Volume, read_volume
from sfg_med.errors import SfgMedError
from sfg_med.metrics.calibration import ZScores
from sfg_med.metrics.case import is_main_ct
from sfg_med.metrics.detail import score_entropy, score_parts, score_shapes, score_spread
from sfg_med.spec import ImageTask, LabelTask, VolumeTask

if TYPE_CHECKING:
    from sfg_med.report.evaluation import CaseJob, CaseScore


@dataclass(frozen=True)
class Scored:
    """A task of a case: the prediction, the reference as it is in its file, and its values as the model means them."""

    task: VolumeTask
    prediction: Volume
    reference: Volume
    expected: NDArray[Any]


def score_details(job: CaseJob, score: CaseScore, scored: Sequence[Scored], mask: Volume | None) -> None:
    """Add the columns to the row, and the sums of z-scores to the case.

    An organ's error needs CT and organs on one grid; where their grids differ it stays blank.

    Raises:
        SfgMedError: for a map of uncertainty that is unreadable or lies on another grid.
    """
    for one in scored:
        if isinstance(one.task, LabelTask):
            _label_details(job, score, one, one.task, mask)
        else:
            _image_details(job, score, one, one.task, scored, mask)


def _image_details(
    job: CaseJob, score: CaseScore, one: Scored, task: ImageTask, scored: Sequence[Scored], mask: Volume | None
) -> None:
    inside = None if mask is None else mask.array
    if is_main_ct(job.spec, task):
        organs = {o.task.name: o.expected for o in scored if isinstance(o.task, LabelTask) and _on_grid(o, one)}
        score.row |= score_parts(job.spec, job.detail, one.prediction.array, one.expected, inside, organs)
    std = _map(job, f"{task.name}_std", one)
    if std is not None:
        # A prediction is never outside the range, so the truth beyond it is not held against its spread.
        truth = np.clip(one.expected, *task.value_range)
        score.z[task.name] = ZScores.of(one.prediction.array, truth, std, inside, floor=1e-3 * abs(task.scale))
        score.row |= score_spread(job.spec, task, score.z[task.name])


def _label_details(job: CaseJob, score: CaseScore, one: Scored, task: LabelTask, mask: Volume | None) -> None:
    pair, reference = (one.prediction.array, one.expected), one.reference
    score.row |= score_shapes(job.spec, job.detail, task, *pair, reference.spacing_mm, reference.voxel_ml)
    entropy = _map(job, f"{task.name}_entropy", one)
    if entropy is not None:
        inside = mask.array if mask is not None and mask.array.shape == entropy.shape else None
        score.row |= score_entropy(job.spec, task, entropy, pair[0] != pair[1], inside)


def _map(job: CaseJob, name: str, one: Scored) -> NDArray[Any] | None:
    path = job.predictions.get(name)
    if path is None:
        return None
    volume = read_volume(path, role=name.replace("_", " "), blank_ok=True)
    check_same_grid(volume, one.reference)
    return volume.array


def _on_grid(organs: Scored, image: Scored) -> bool:
    try:
        check_same_grid(organs.reference, image.reference)
    except SfgMedError:
        return False
    return True
