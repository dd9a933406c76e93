# SPDX-License-Identifier: Apache-2.0
"""Where training patches are taken from."""

from __future__ import annotations

from collections.abc import Sequence

from monai.transforms import MapTransform, RandCropByLabelClassesd, RandSpatialCropd

from sfg_med.spec import ModelSpec

CENTRES = ("anywhere", "labels")


def random_crop(keys: Sequence[str], spec: ModelSpec, centre: str = "anywhere") -> MapTransform:
    """Random patches of the specification's size.

    Args:
        keys: images to crop together.
        spec: the model; its first label task chooses the centres.
        centre: ``"anywhere"``, or ``"labels"``: half of the centre voxels are of a label, of each that the case has
            equally often, so that small organs are in many patches; the other half are background.

    Raises:
        ValueError: for an unknown choice, or ``"labels"`` without a label task.
    """
    if centre == "anywhere":
        return RandSpatialCropd(keys, roi_size=spec.patch_size, random_size=False)
    if centre != "labels" or not spec.label_tasks:
        raise ValueError(f"patch_centre must be one of {CENTRES}, labels only with a label task; got {centre!r}")
    task = spec.label_tasks[0]
    return RandCropByLabelClassesd(
        keys,
        label_key=task.name,
        spatial_size=spec.patch_size,
        ratios=[float(len(task.labels)), *[1.0] * len(task.labels)],
        num_classes=task.channels,
        num_samples=1,
        warn=False,
    )
