# SPDX-License-Identifier: Apache-2.0
"""Patches that hold small organs."""

import numpy as np
import pytest
import torch

from sfg_med.spec import ImageTask, LabelTask, ModelSpec
from sfg_med.transforms import random_crop

SPEC = ModelSpec(tasks=(ImageTask(), LabelTask(labels={"a": 1, "b": 2})), patch_size=(8, 8, 8))


def held(centre: str) -> np.ndarray:
    """For each of 200 patches, how many voxels of a small and of a large organ it holds."""
    seg = torch.zeros(1, 40, 40, 40)
    seg[0, 3:5, 3:5, 3:5] = 1
    seg[0, 20:32, 20:32, 20:32] = 2
    crop = random_crop(["seg"], SPEC, centre)
    crop.set_random_state(seed=0)
    patches = [crop({"seg": seg}) for _ in range(200)]
    patches = [p[0]["seg"] if isinstance(p, list) else p["seg"] for p in patches]
    assert all(p.shape == (1, 8, 8, 8) for p in patches)
    return np.array([[(p == i).sum().item() for i in (1, 2)] for p in patches])


def test_half_of_the_centres_are_labels_each_equally_often() -> None:
    small, large = (held("labels") > 0).mean(0)
    # A quarter of the patches are centred on each label; a patch on the background may hold organs too.
    assert 0.18 < small < 0.34
    assert 0.18 < large < 0.55


def test_anywhere_is_rarely_on_a_small_organ() -> None:
    assert (held("anywhere")[:, 0] > 0).mean() < 0.1


@pytest.mark.parametrize("spec", [SPEC, ModelSpec(tasks=(ImageTask(),))])
def test_unknown_choices_and_models_without_labels_are_refused(spec: ModelSpec) -> None:
    with pytest.raises(ValueError, match="patch_centre"):
        random_crop(["ct"], spec, "labels" if not spec.label_tasks else "organs")
