# SPDX-License-Identifier: Apache-2.0
"""All metrics of one case, named as in ``metrics.csv``, for whatever tasks a model specification lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfg_med.metrics.image import bone_mae, masked_mae, psnr_db, ssim
from sfg_med.metrics.ms_ssim import ms_ssim
from sfg_med.metrics.organs import score_organs
from sfg_med.spec import ImageTask, LabelTask, ModelSpec, VolumeTask


@dataclass(frozen=True)
class Column:
    """A column of ``metrics.csv``.

    Args:
        name: column name, such as ``mae_hu``.
        metric: ``mae, psnr, ssim, ms_ssim, mae_bone, dice, hd95``, or one of :mod:`sfg_med.metrics.detail`.
        title: what a reader of a table sees, such as ``"MAE"``.
        unit: unit of the numbers; empty for a ratio.
        task: task that it judges.
        better: ``"lower"``, ``"higher"``, or the number that is best.
    """

    name: str
    metric: str
    title: str
    unit: str
    task: str
    better: str | float


def columns(spec: ModelSpec) -> tuple[Column, ...]:
    """Columns of a model's tasks, in the order of the table.

    The first image in HU has the contract's names (``mae_hu, psnr_db, ssim, ms_ssim, mae_bone_hu``).
    Another image has its task's name at the end (``mae_flair, psnr_db_flair, ssim_flair, ms_ssim_flair``)
    and no bone column. The first segmentation has ``dice_<organ>, hd95_mm_<organ>``, a further one
    ``dice_<task>_<organ>`` and so on.
    """
    return tuple(column for task in spec.volume_tasks for column in _task_columns(spec, task))


def score_task(
    spec: ModelSpec,
    task: VolumeTask,
    prediction: ArrayLike,
    reference: ArrayLike,
    mask: ArrayLike | None,
    spacing_mm: Sequence[float],
    value_range: tuple[float, float] | None = None,
) -> dict[str, float]:
    """Score one task of one case.

    Args:
        spec: model specification, which settles the names.
        task: one of its tasks.
        prediction: image in the task's unit, or label map, ``(X, Y, Z)``.
        reference: the same from the reference.
        mask: voxels where an image counts (the body); ``None`` means all. Organs are compared everywhere.
        spacing_mm: voxel size along each array axis.
        value_range: clip range of PSNR, SSIM and MS-SSIM in place of the task's own.

    Returns:
        Column name to value; NaN where the metric is not defined.
    """
    names = [column.name for column in _task_columns(spec, task)]
    if isinstance(task, LabelTask):
        scores = score_organs(prediction, reference, task.labels, spacing_mm)
        values = [dice for dice, _ in scores.values()] + [distance for _, distance in scores.values()]
    else:
        limits = value_range or task.value_range
        values = [masked_mae(prediction, reference, mask)]
        values += [metric(prediction, reference, mask, limits) for metric in (psnr_db, ssim, ms_ssim)]
        if is_main_ct(spec, task):
            values.append(bone_mae(prediction, reference, mask))
    return dict(zip(names, values, strict=True))


def reference_in_unit(task: ImageTask, reference: NDArray[Any]) -> NDArray[Any]:
    """Give a reference image ``(X, Y, Z)`` the unit that predictions of its task are written in.

    Only a ``zscore`` task changes it: the image is clipped and standardised over its own non-fill voxels, as
    in training, and mapped by the task's offset and scale. A constant image becomes the offset.
    """
    if task.normalize != "zscore":
        return reference
    clipped = reference.clip(*task.value_range).astype(np.float64)
    known = clipped[clipped != task.fill]
    mean, deviation = (known.mean(), known.std(ddof=1)) if known.size > 1 else (0.0, 0.0)
    return (clipped - mean) / (deviation or 1.0) * task.scale + task.offset


def case_dice_mean(row: Mapping[str, float]) -> float:
    """Mean Dice over the organs that the reference has; NaN where it has none."""
    values = [value for name, value in row.items() if name.startswith("dice_") and value == value]
    return sum(values) / len(values) if values else float("nan")


def _task_columns(spec: ModelSpec, task: VolumeTask) -> list[Column]:
    return _organ_columns(spec, task) if isinstance(task, LabelTask) else _image_columns(spec, task)


def _image_columns(spec: ModelSpec, task: ImageTask) -> list[Column]:
    main = is_main_ct(spec, task)
    mae, end, title = ("mae_hu", "", "") if main else (f"mae_{task.name}", f"_{task.name}", f" {task.name}")
    found = [
        Column(mae, "mae", f"MAE{title}", task.unit, task.name, "lower"),
        Column(f"psnr_db{end}", "psnr", f"PSNR{title}", "dB", task.name, "higher"),
        Column(f"ssim{end}", "ssim", f"SSIM{title}", "", task.name, "higher"),
        Column(f"ms_ssim{end}", "ms_ssim", f"MS-SSIM{title}", "", task.name, "higher"),
    ]
    if main:
        found.append(Column("mae_bone_hu", "mae_bone", "MAE in bone", task.unit, task.name, "lower"))
    return found


def _organ_columns(spec: ModelSpec, task: LabelTask) -> list[Column]:
    prefix = "" if task == spec.label_tasks[0] else f"{task.name}_"
    organs = [(f"{prefix}{organ}", f"{prefix}{organ}".replace("_", " ")) for organ in task.labels]
    return [
        *(Column(f"dice_{name}", "dice", f"Dice {title}", "", task.name, "higher") for name, title in organs),
        *(Column(f"hd95_mm_{name}", "hd95", f"HD95 {title}", "mm", task.name, "lower") for name, title in organs),
    ]


def is_main_ct(spec: ModelSpec, task: ImageTask) -> bool:
    """Whether an image is the first one in HU, which has the short column names."""
    in_hu = [t for t in spec.image_tasks if t.unit.upper() == "HU"]
    return bool(in_hu) and task == in_hu[0]
