# SPDX-License-Identifier: Apache-2.0
"""The deterministic transforms of a model: what training, evaluation and inference do alike."""

from __future__ import annotations

from typing import cast

from monai.data import MetaTensor
from monai.transforms import (
    Orientation,
    Orientationd,
    SelectItemsd,
    Transform,
)

from sfg_med.data.cases import MASK, TISSUE, Case
from sfg_med.spec import ANNOTATED, ModelSpec
from sfg_med.transforms.normalize import NormalizeInput, NormalizeInputd
from sfg_med.transforms.read import LABELS, OTHER_LABELS, ReadCased
from sfg_med.transforms.spacing import StableSpacing, StableSpacingd
from sfg_med.transforms.targets import EncodeTargetsd

AXES = "RAS"
LABEL_AXES = (("L", "R"), ("P", "A"), ("I", "S"))


def case_items(cases: list[Case]) -> list[dict[str, object]]:
    """What the transforms start from: role to file name, and the label values of the files."""
    return [
        {
            **{role: str(path) for role, path in c.files.items()},
            LABELS: c.labels,
            OTHER_LABELS: c.other_labels,
            "case": c.name,
        }
        for c in cases
    ]


def deterministic_transforms(spec: ModelSpec, tissue: bool = False) -> list[Transform]:
    """Read, check, orient to RAS, resample, normalise and encode a case (see :func:`case_items`).

    Images are resampled linearly, labels and masks by nearest neighbour.

    Args:
        spec: the model.
        tissue: keep the map of tissues, where a case has one.
    """
    labels = [task.name for task in spec.label_tasks]
    keys = [spec.input_name, *spec.channels, MASK, *([TISSUE] if tissue else [])]
    modes = ["nearest" if key in (*labels, MASK, TISSUE) else "bilinear" for key in keys]
    annotated = [f"{name}{ANNOTATED}" for name in spec.channels]
    return [
        ReadCased(spec, tissue),
        Orientationd(keys, axcodes=AXES, labels=LABEL_AXES, allow_missing_keys=True),
        StableSpacingd(keys, pixdim=spec.spacing_mm, mode=modes, padding_mode="border", allow_missing_keys=True),
        NormalizeInputd(spec.input_name),
        EncodeTargetsd(spec),
        SelectItemsd([*keys, *annotated, "case"], allow_missing_keys=True),
    ]


def network_input(image: MetaTensor, spec: ModelSpec) -> MetaTensor:
    """The input image as the network sees it.

    Args:
        image: ``(1, X, Y, Z)`` in any orientation and spacing.
        spec: the model.

    Returns:
        ``(1, X', Y', Z')`` in RAS at ``spec.spacing_mm``, normalised, float32.
    """
    oriented = Orientation(axcodes=AXES, labels=LABEL_AXES)(image)
    resampled = StableSpacing(pixdim=spec.spacing_mm, mode="bilinear", padding_mode="border")(oriented)
    return cast(MetaTensor, NormalizeInput()(resampled))
