# SPDX-License-Identifier: Apache-2.0
"""Mirror images of patients: flips left and right, and the names of paired organs with them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from sfg_med.spec import LabelTask, ModelSpec


def mirrored_channels(task: LabelTask) -> list[int]:
    """Class number of each class in the mirror: ``x_left`` and ``x_right`` change places."""
    names = ["background", *task.labels]
    pairs = {"_left": "_right", "_right": "_left"}
    swapped = list(names)
    for i, name in enumerate(names):
        for side, other in pairs.items():
            partner = name.removesuffix(side) + other
            if name.endswith(side) and partner in names:
                swapped[i] = partner
    return [names.index(n) for n in swapped]


class RandLeftRightFlipd(RandomizableTransform, MapTransform):
    """Flip the first spatial axis (left-right in RAS) and swap the classes of paired organs.

    Args:
        keys: images ``(C, X, ...)`` to flip.
        spec: names the label tasks.
        prob: probability of a flip.
    """

    def __init__(self, keys: KeysCollection, spec: ModelSpec, prob: float = 0.5) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.partners: dict[str, Sequence[int]] = {t.name: mirrored_channels(t) for t in spec.label_tasks}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Flip, or pass on unchanged."""
        result = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return result
        for key in self.key_iterator(result):
            result[key] = torch.flip(result[key], (1,))
            if key in self.partners:
                partner = torch.tensor(self.partners[str(key)], dtype=result[key].dtype)
                result[key] = partner[result[key].long()]
        return result
