# SPDX-License-Identifier: Apache-2.0
"""Read a case as prediction reads its input, and refuse files that do not belong together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from sfg_med.data.agreement import check_label_values, check_same_grid
from sfg_med.data.cases import MASK, REFUSE, TISSUE
from sfg_med.data.volumes import Volume, read_volume
from sfg_med.spec import ModelSpec

# Keys of an item beside the files: label values of the files, and what to do about others.
LABELS = "labels"
OTHER_LABELS = "other_labels"


class ReadCased(Transform):
    """Replace file names by images ``(1, X, Y, Z)``, float32, in the orientation of the files.

    The same reader as in prediction, so that sform, qform and units are understood alike, and the same one-line errors:
    unreadable files, NaN, a constant input image; here also other grids than that of the input, and unnamed labels.

    Args:
        spec: names the files; roles that an item lacks stay missing.
        tissue: read the map of tissues, too.
    """

    def __init__(self, spec: ModelSpec, tissue: bool = False) -> None:
        self.spec = spec
        self.roles = [*spec.channels, MASK, *([TISSUE] if tissue else [])]
        self.label_values = {task.name: task.labels for task in spec.label_tasks}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read and check the files of one case."""
        result = dict(data)
        reference = read_volume(data[self.spec.input_name], role=self.spec.input_name)
        result[self.spec.input_name] = _tensor(reference)
        if TISSUE not in self.roles:
            result.pop(TISSUE, None)
        strict = result.pop(OTHER_LABELS, REFUSE) == REFUSE
        for role in self.roles:
            if role not in data:
                continue
            volume = read_volume(data[role], role=role, blank_ok=role in self.label_values or role in (MASK, TISSUE))
            check_same_grid(volume, reference)
            if strict and role in self.label_values:
                named = data.get(LABELS, {}).get(role, self.label_values[role])
                check_label_values(volume, list(named.values()))
            result[role] = _tensor(volume)
        return result


def _tensor(volume: Volume) -> MetaTensor:
    array = np.ascontiguousarray(volume.array, np.float32)
    return MetaTensor(torch.from_numpy(array)[None], affine=torch.as_tensor(volume.affine))
