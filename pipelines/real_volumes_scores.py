# SPDX-License-Identifier: Apache-2.0
"""What can be measured on a real MR without its CT: organs against masks, heads against bone, HU against tissues."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from pipelines.real_volumes_cases import BODY, BONE, RealCase
from sfg_med.data.agreement import check_same_grid
from sfg_med.data.volumes import Volume, read_volume
from sfg_med.inference.plausible import limit_flags, read_limits
from sfg_med.metrics import organ_dice, organ_hd95_mm
from sfg_med.spec import ImageTask, ModelSpec

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Scores = dict[str, float]

HEADS = ("femoral_head_left", "femoral_head_right")
HEAD_ML = 10.0
"""A head of less is not found; those of grown men have 30 to 80 ml, with what is left of the neck."""

INSIDE_MM = 5.0
"""Soft tissue this far from air, bone and organs is judged apart: no half-filled voxels, no error of an outline."""


def score_case(case: RealCase, spec: ModelSpec, record: Mapping[str, Any], folder: Path) -> Scores:
    """Score what was predicted for a case.

    Args:
        case: the case and its reference.
        spec: the model's tasks; organs are those of its label tasks, HU those of its first image in HU.
        record: the case's record in the manifest.
        folder: folder that the record's files are relative to.

    Returns:
        Column name to value; NaN where there is nothing to measure. Columns that the case has no reference for, or the
        model no output, are absent.

    Raises:
        SfgMedError: if a file cannot be read or lies on another grid.
    """
    grid = read_volume(record["input"])
    predicted = _organs(spec, record, folder)
    reference = _reference(case, grid)
    scores: Scores = {}
    for organ in case.organs or {"prostate": 0}:
        if organ in predicted:
            truth = None if reference is None else reference == case.organs[organ]
            scores |= organ_scores(organ, predicted[organ], truth, grid.affine)
    if case.regions and reference is not None:
        if all(head in predicted for head in HEADS):
            scores |= head_scores(predicted, reference == BONE, reference > 0, grid.affine)
        task = next((t for t in spec.image_tasks if t.unit.upper() == "HU"), None)
        if task is not None:
            hu = _read(record, folder, task, grid)
            scores |= hu_scores(hu, grid.array, reference, case.organs["bladder"], grid.spacing_mm)
    return scores


def organ_scores(organ: str, predicted: Mask, reference: Mask | None, affine: Array) -> Scores:
    """Overlap, distances and volumes of one organ.

    Args:
        organ: its name, for the columns.
        predicted: ``(X, Y, Z)``.
        reference: the same, or ``None`` if there is none: then only the volume, and whether there is any.
        affine: ``(4, 4)`` voxel to RAS millimetres.

    Returns:
        ``volume_ml_``, ``found_`` (1 or 0: some of it lies where it is; without reference, there is some of it), and
        with a reference ``dice_``, ``hd95_mm_``, ``reference_ml_``, ``volume_ratio_`` and ``centroid_distance_mm_``.
    """
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    volume = voxel_ml * np.count_nonzero(predicted)
    if reference is None:
        return {f"volume_ml_{organ}": volume, f"found_{organ}": float(volume > 0)}
    truth = voxel_ml * np.count_nonzero(reference)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return {
        f"dice_{organ}": organ_dice(predicted, reference),
        f"hd95_mm_{organ}": organ_hd95_mm(predicted, reference, tuple(spacing)),
        f"volume_ml_{organ}": volume,
        f"reference_ml_{organ}": truth,
        f"volume_ratio_{organ}": volume / truth if truth else math.nan,
        f"centroid_distance_mm_{organ}": float(
            np.linalg.norm(centroid(predicted, affine) - centroid(reference, affine))
        ),
        f"found_{organ}": float(np.any(predicted & reference)),
    }


def head_scores(predicted: Mapping[str, Mask], bone: Mask, body: Mask, affine: Array) -> Scores:
    """Femoral heads, where the reference has bone but no heads: each must be bone, and on its own side.

    Args:
        predicted: at least both heads, ``(X, Y, Z)`` each.
        bone: all bone.
        body: the patient, whose centroid says where left ends and right begins.
        affine: ``(4, 4)`` voxel to RAS millimetres; x grows to the patient's right.

    Returns:
        For each head its volume, ``in_bone_`` (share of it that is bone) and ``left_of_middle_mm_``; ``heads_found``
        (1 if both have 10 ml or more) and ``heads_on_their_sides`` (1 if both are there and not swapped).
    """
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    middle = centroid(body, affine)[0]
    scores: Scores = {}
    for head in HEADS:
        count = np.count_nonzero(predicted[head])
        scores[f"volume_ml_{head}"] = voxel_ml * count
        scores[f"in_bone_{head}"] = np.count_nonzero(predicted[head] & bone) / count if count else math.nan
        scores[f"left_of_middle_mm_{head}"] = float(middle - centroid(predicted[head], affine)[0])
    left, right = (scores[f"left_of_middle_mm_{head}"] for head in HEADS)
    scores["heads_found"] = float(all(scores[f"volume_ml_{head}"] >= HEAD_ML for head in HEADS))
    scores["heads_on_their_sides"] = float(left > 0 > right)
    return scores


def hu_scores(hu: Array, mr: Array, regions: Array, bladder: int, spacing_mm: Sequence[float]) -> Scores:
    """Mean synthetic HU of tissues whose HU are known without a CT.

    Args:
        hu: synthetic CT, ``(X, Y, Z)``.
        mr: the MR itself.
        regions: 0 air around the patient, 1 soft tissue, 2 bone, more for organs.
        bladder: value of the bladder.
        spacing_mm: voxel size along each array axis.

    Returns:
        Means in HU. ``soft``: all of region 1; ``soft_inside``: the part of it that is 5 mm from any other region, of
        which ``muscle`` is darker in the MR than Otsu's threshold and ``fat`` brighter (T2 shows fat bright; bowel is
        in either). ``bone_minus_soft_hu`` takes ``soft_inside``, without skin that is half air.
    """
    soft = regions == BODY
    inside = ndimage.distance_transform_edt(soft, sampling=tuple(spacing_mm)) > INSIDE_MM
    bright = mr > threshold_otsu(mr[inside]) if inside.any() and np.ptp(mr[inside]) else np.zeros_like(soft)
    places = {
        "bone": regions == BONE,
        "soft": soft,
        "soft_inside": inside,
        "muscle": inside & ~bright,
        "fat": inside & bright,
        "bladder": regions == bladder,
        "air": regions == 0,
    }
    scores = {
        f"hu_{name}": float(hu[place].mean(dtype=np.float64)) if place.any() else math.nan
        for name, place in places.items()
    }
    return scores | {"bone_minus_soft_hu": scores["hu_bone"] - scores["hu_soft_inside"]}


def centroid(mask: Mask, affine: Array) -> NDArray[np.float64]:
    """Centre of mass in RAS millimetres, ``(3,)``; NaN of an empty mask."""
    if not mask.any():
        return np.full(3, math.nan)
    index = [float(np.average(np.arange(n), weights=mask.sum(axis=_others(a)))) for a, n in enumerate(mask.shape)]
    return np.asarray(affine[:3, :3] @ np.array(index) + affine[:3, 3], np.float64)


def flags_of(case: RealCase, record: Mapping[str, Any]) -> list[str]:
    """Flags of predict, and ``volume:<organ>`` for a volume that no man has; of organs in the field of view.

    Only whole-pelvis images can be blamed for other organs than the prostate.
    """
    volumes = {"volume_ml": read_limits()["volume_ml"]}
    known = set(volumes["volume_ml"])
    judged = known if case.regions else {"prostate"}
    found = [*record["flags"], *limit_flags(record["measures"], volumes)]  # older manifests lack the latter
    return [flag for flag in dict.fromkeys(found) if flag.partition(":")[2] not in known - judged]


def is_plausible(flags: Sequence[str]) -> bool:
    """Whether every organ is there, in one piece and of a volume that a man can have."""
    return not any(flag.partition(":")[0] in ("empty", "components", "volume") for flag in flags)


def _others(axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(3) if a != axis)


def _organs(spec: ModelSpec, record: Mapping[str, Any], folder: Path) -> dict[str, Mask]:
    found: dict[str, Mask] = {}
    for task in spec.label_tasks:
        labels = read_volume(folder / record["files"][task.name], role=task.name, blank_ok=True).array
        found |= {organ: labels == value for organ, value in task.labels.items() if organ not in found}
    return found


def _reference(case: RealCase, grid: Volume) -> Array | None:
    if case.reference is None:
        return None
    volume = read_volume(case.reference, role="reference", blank_ok=True)
    check_same_grid(volume, grid)
    return volume.array


def _read(record: Mapping[str, Any], folder: Path, task: ImageTask, grid: Volume) -> Array:
    volume = read_volume(folder / record["files"][task.name], role=task.name, blank_ok=True)
    check_same_grid(volume, grid)
    return volume.array
