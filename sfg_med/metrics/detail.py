# SPDX-License-Identifier: Apache-2.0
"""Further columns of ``metrics.csv``: error by tissue and organ, surfaces, volumes, what maps of uncertainty are worth.

The columns of the contract (:mod:`sfg_med.metrics.case`) come first and stay as they are; these follow them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from sfg_med.metrics.calibration import ZScores
from sfg_med.metrics.case import Column, is_main_ct
from sfg_med.metrics.image import BONE_HU, masked_mae
from sfg_med.metrics.organs import organ_surface_dice
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

TISSUES = {"air": (-math.inf, -200.0), "soft_tissue": (-200.0, BONE_HU)}
"""Above the first and up to the second number (HU) of the **reference**; bone, above 150 HU, is a column of its own."""

SURFACE_MM = 2.0
_SPREAD = (
    ("z_mean", "z mean", 0.0),
    ("z_sd", "z SD", 1.0),
    ("coverage_50", "In 50 % interval", 0.5),
    ("coverage_80", "In 80 % interval", 0.8),
    ("coverage_95", "In 95 % interval", 0.95),
)


@dataclass(frozen=True)
class Detail:
    """What is to be scored beside the contract's columns.

    Args:
        tissues: name to the range of the reference in HU, above the first number and up to the second.
        surface_mm: distance up to which two surfaces count as one.
        maps: maps of uncertainty that predict wrote, such as ``ct_std`` and ``seg_entropy``.
    """

    tissues: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(TISSUES))
    surface_mm: float = SURFACE_MM
    maps: tuple[str, ...] = ()


def detail_columns(spec: ModelSpec, detail: Detail) -> tuple[Column, ...]:
    """Columns in the order of the table, after those of :func:`sfg_med.metrics.columns`."""
    found: list[Column] = []
    for image in (task for task in spec.image_tasks if is_main_ct(spec, task)):
        tissues = [(f"mae_{name}_hu", f"MAE in {_words(name)}") for name in detail.tissues]
        organs = [(f"mae_hu_{name}", f"MAE in {title}") for _, _, name, title in _organs(spec)]
        found += [Column(name, "mae_part", title, image.unit, image.name, "lower") for name, title in tissues + organs]
    for metric, title, unit, better in _shapes(detail):
        found += [
            Column(f"{metric}_{name}", metric, f"{title} {organ}", unit, task.name, better)
            for task, _, name, organ in _organs(spec)
        ]
    for image in (task for task in spec.image_tasks if f"{task.name}_std" in detail.maps):
        end = _end(spec, image)
        for name, title, best in _SPREAD:
            found.append(Column(f"{name}{end}", name, f"{title}{_words(end)}", "", image.name, best))
    for label in (task for task in spec.label_tasks if f"{task.name}_entropy" in detail.maps):
        end = _end(spec, label)
        title = f"AUROC of entropy{_words(end)}"
        found.append(Column(f"error_auroc{end}", "error_auroc", title, "", label.name, "higher"))
    return tuple(found)


def tissue_mae(
    prediction: ArrayLike,
    reference: ArrayLike,
    mask: ArrayLike | None = None,
    tissues: Mapping[str, tuple[float, float]] = TISSUES,
) -> dict[str, float]:
    """Mean absolute error in each tissue, by the reference's values.

    Args:
        prediction: image in HU, ``(X, Y, Z)``.
        reference: true image on the same grid.
        mask: voxels that count (> 0); ``None`` means all.
        tissues: name to the values of the reference, above the first and up to the second.

    Returns:
        Tissue to error in HU; NaN where the reference has none of it.
    """
    expected = np.asarray(reference)
    inside = np.ones(expected.shape, bool) if mask is None else np.asarray(mask) > 0
    return {
        name: masked_mae(prediction, reference, inside & (expected > low) & (expected <= high))
        for name, (low, high) in tissues.items()
    }


def score_parts(
    spec: ModelSpec,
    detail: Detail,
    prediction: ArrayLike,
    reference: ArrayLike,
    mask: ArrayLike | None,
    organs: Mapping[str, NDArray[np.generic]],
) -> dict[str, float]:
    """Error of the main CT by tissue and by organ.

    Args:
        spec: model specification.
        detail: tissues.
        prediction: CT in HU, ``(X, Y, Z)``.
        reference: true CT on the same grid.
        mask: voxels that count (the body); ``None`` means all.
        organs: label task to true label map on the same grid, where there is one.
    """
    inside = np.ones(np.shape(reference), bool) if mask is None else np.asarray(mask) > 0
    values = {f"mae_{k}_hu": v for k, v in tissue_mae(prediction, reference, inside, detail.tissues).items()}
    for task, value, name, _ in _organs(spec):
        if task.name in organs:
            values[f"mae_hu_{name}"] = masked_mae(prediction, reference, inside & (organs[task.name] == value))
    return values


def score_shapes(
    spec: ModelSpec,
    detail: Detail,
    task: LabelTask,
    prediction: NDArray[np.generic],
    reference: NDArray[np.generic],
    spacing_mm: Sequence[float],
    voxel_ml: float,
) -> dict[str, float]:
    """Surface Dice and volume differences of a label task's organs; NaN where the reference has none.

    Args:
        spec: model specification.
        detail: tolerance of surfaces.
        task: one of its label tasks.
        prediction: label map ``(X, Y, Z)``.
        reference: true label map on the same grid.
        spacing_mm: voxel size along each array axis.
        voxel_ml: volume of a voxel.
    """
    values = {}
    surface, ml, percent = (metric for metric, *_ in _shapes(detail))
    for found, value, name, _ in _organs(spec):
        if found != task:
            continue
        pair = prediction == value, reference == value
        sizes = [int(m.sum()) for m in pair]
        known = sizes[1] > 0
        values[f"{surface}_{name}"] = organ_surface_dice(*pair, spacing_mm, detail.surface_mm)
        values[f"{ml}_{name}"] = (sizes[0] - sizes[1]) * voxel_ml if known else math.nan
        values[f"{percent}_{name}"] = 100 * (sizes[0] - sizes[1]) / sizes[1] if known else math.nan
    return values


def score_spread(spec: ModelSpec, task: ImageTask, scores: ZScores) -> dict[str, float]:
    """Columns of an image's z-scores; NaN without voxels."""
    summary = scores.summary() if scores.count else {}
    return {f"{name}{_end(spec, task)}": summary.get(name, math.nan) for name, _, _ in _SPREAD}


def score_entropy(
    spec: ModelSpec, task: LabelTask, entropy: NDArray[np.generic], wrong: NDArray[np.bool_], mask: ArrayLike | None
) -> dict[str, float]:
    """How well the entropy tells wrong labels from right ones inside the mask: area under the ROC curve.

    It is the probability that a wrong voxel has more entropy than a right one (ties count half): Mann and Whitney's U.
    NaN where all voxels are right, or all are wrong.
    """
    inside = np.ones(wrong.shape, bool) if mask is None else np.asarray(mask) > 0
    ranks, errors = rankdata(entropy[inside]), wrong[inside]
    bad = int(errors.sum())
    good = errors.size - bad
    area = (ranks[errors].sum() - bad * (bad + 1) / 2) / (bad * good) if bad and good else math.nan
    return {f"error_auroc{_end(spec, task)}": float(area)}


def _organs(spec: ModelSpec) -> list[tuple[LabelTask, int, str, str]]:
    """Task, value, name in columns and title of each organ; a further task's name stands before its organs."""
    found = []
    for task in spec.label_tasks:
        prefix = "" if task == spec.label_tasks[0] else f"{task.name}_"
        found += [(task, v, f"{prefix}{organ}", _words(f"{prefix}{organ}")) for organ, v in task.labels.items()]
    return found


def _shapes(detail: Detail) -> list[tuple[str, str, str, str | float]]:
    return [
        (f"surface_dice_{detail.surface_mm:g}mm", f"Surface Dice ({detail.surface_mm:g} mm)", "", "higher"),
        ("volume_diff_ml", "Volume difference", "ml", 0.0),
        ("volume_diff_percent", "Volume difference", "%", 0.0),
    ]


def _end(spec: ModelSpec, task: ImageTask | LabelTask) -> str:
    """What stands after the names of a task's columns: nothing for the main CT and the first organs."""
    main = is_main_ct(spec, task) if isinstance(task, ImageTask) else task == spec.label_tasks[0]
    return "" if main else f"_{task.name}"


def _words(name: str) -> str:
    return name.replace("_", " ")
