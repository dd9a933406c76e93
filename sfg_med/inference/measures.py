# SPDX-License-Identifier: Apache-2.0
"""Numbers and flags of one predicted case: what a person looks at before the picture."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sfg_med.data.volumes import Volume
from sfg_med.inference.plausible import Limits, limit_flags
from sfg_med.inference.scope import INPUT, centre, input_measures, offsets
from sfg_med.spec import ImageTask, ModelSpec

# Parts beside the largest one below this share of an organ are specks, not a finding.
SPECKS = 0.05
CUT_OFF = 0.001

Array = NDArray[Any]
Measures = dict[str, float]


def measure_columns(spec: ModelSpec) -> list[str]:
    """Names of the numeric columns, in order."""
    organs = [name for task in spec.label_tasks for name in task.labels]
    volumes = [f"volume_ml_{organ}" for organ in organs]
    return volumes + [f"{prefix}_{organ}" for prefix in _mean_prefixes(spec).values() for organ in organs]


def measure(
    spec: ModelSpec, volumes: dict[str, Array], grid: Volume, limits: Limits | None = None
) -> tuple[Measures, list[str]]:
    """Measure a case.

    Args:
        spec: the model.
        volumes: output key to (X, Y, Z) values as they are in the files; uncertainties (``ct_std``,
            ``seg_entropy``) are measured where they are given.
        grid: the input, for its voxel size and notes.
        limits: of plausible measures; none by default.

    Returns:
        Measures by column name, without means over empty organs; and the flags. Uncertainties are means over the
        organ, in columns such as ``std_hu_bladder`` (HU) and ``entropy_bladder`` (nats).
    """
    measures: Measures = {}
    flags = list(grid.notes)
    centres = {}
    prefixes = {**_mean_prefixes(spec), **_uncertainty_prefixes(spec, volumes)}
    for task in spec.label_tasks:
        boxes = ndimage.find_objects(volumes[task.name], max_label=max(task.labels.values()))
        for organ, value in task.labels.items():
            box = boxes[value - 1]
            inside = volumes[task.name][box] == value if box else np.zeros((0, 0, 0), bool)
            count = int(np.count_nonzero(inside))
            measures[f"volume_ml_{organ}"] = round(count * grid.voxel_ml, 4)
            if not count:
                flags.append(f"empty:{organ}")
                continue
            centres[organ] = centre(inside, box, grid.affine)
            flags += _shape_flags(organ, inside, box, grid.array.shape)
            for name, prefix in prefixes.items():
                measures[f"{prefix}_{organ}"] = round(float(volumes[name][box][inside].mean(dtype=np.float64)), 3)
    for image in spec.image_tasks:
        flags += _range_flags(image, volumes[image.name])
    measures |= {**offsets(centres, limits or {}), **(input_measures(grid) if INPUT in (limits or {}) else {})}
    return measures, flags + limit_flags(measures, limits or {})


def _mean_prefixes(spec: ModelSpec, kind: str = "mean") -> dict[str, str]:
    """Image task to the start of its columns: ``mean_hu``; after the first task with the task's name."""
    units = {task.name: re.sub(r"[^a-z0-9]+", "", task.unit.lower()) or "value" for task in spec.image_tasks}
    return {name: f"{name}_{kind}_{unit}" if i else f"{kind}_{unit}" for i, (name, unit) in enumerate(units.items())}


def _uncertainty_prefixes(spec: ModelSpec, volumes: dict[str, Array]) -> dict[str, str]:
    """Key of an uncertainty to the start of its columns: ``std_hu``, ``entropy``."""
    keys = {f"{name}_std": prefix for name, prefix in _mean_prefixes(spec, "std").items()}
    for i, task in enumerate(spec.label_tasks):
        keys[f"{task.name}_entropy"] = f"{task.name}_entropy" if i else "entropy"
    return {key: prefix for key, prefix in keys.items() if key in volumes}


def _shape_flags(organ: str, inside: Array, box: tuple[slice, ...], shape: tuple[int, ...]) -> list[str]:
    flags = []
    parts, count = ndimage.label(inside, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=2)[1:]
    if count > 1 and sizes.sum() - sizes.max() > SPECKS * sizes.sum():
        flags.append(f"components:{organ}")
    # an axis of one voxel has nothing but edges
    if any(n > 1 and (part.start == 0 or part.stop == n) for part, n in zip(box, shape, strict=True)):
        flags.append(f"fov_edge:{organ}")
    return flags


def _range_flags(task: ImageTask, values: Array) -> list[str]:
    low, high = task.value_range
    flags = [f"blank:{task.name}"] if values.min() == values.max() else []
    cut = np.count_nonzero(values >= high)
    if low != task.fill:
        cut += np.count_nonzero(values <= low)
    return [*flags, f"range:{task.name}"] if cut > CUT_OFF * values.size else flags
