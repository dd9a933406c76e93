# SPDX-License-Identifier: Apache-2.0
"""Small fields of view: from the whole pelvis down to a box around the prostate."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from sfg_med.spec import ModelSpec


class RandFieldOfViewd(RandomizableTransform, MapTransform):
    """Crop to what a smaller field of view would have shown.

    The box is centred near a label where the case has it (diagnostic scans are planned on the prostate), else anywhere.
    Pad after intensities are normalised: what lies outside the field of view must not be known.

    Args:
        keys: images to crop together; missing ones are passed over.
        spec: the model; gives the voxel size.
        label: name of the label that the box is centred on.
        prob: probability of a crop.
        smallest_mm: smallest size along x, y, z.
        largest_mm: largest size along x, y, z; the image is not padded to it.
        jitter_mm: standard deviation of the centre.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spec: ModelSpec,
        label: str = "prostate",
        prob: float = 0.3,
        smallest_mm: Sequence[float] = (110.0, 110.0, 54.0),
        largest_mm: Sequence[float] = (280.0, 240.0, 150.0),
        jitter_mm: float = 12.0,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys=True)
        RandomizableTransform.__init__(self, prob)
        self.spacing_mm = spec.spacing_mm
        self.targets = {t.name: 1 + list(t.labels).index(label) for t in spec.label_tasks if label in t.labels}
        self.smallest_mm, self.largest_mm, self.jitter_mm = tuple(smallest_mm), tuple(largest_mm), jitter_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop the images, or pass them on."""
        self.randomize(None)
        return self.crop(data)[0] if self._do_transform else dict(data)

    def crop(self, data: Mapping[Hashable, Any]) -> tuple[dict[Hashable, Any], list[int]]:
        """The cropped images, and the voxel at which they start."""
        result = dict(data)
        present = list(self.key_iterator(result))
        shape = result[present[0]].shape[1:]
        box = self.draw_box(shape, self._centre(result, shape))
        for key in present:
            result[key] = result[key][(slice(None), *box)]
        return result, [part.start for part in box]

    def draw_box(self, shape: Sequence[int], centre: Sequence[float]) -> tuple[slice, ...]:
        """A box within an image of this shape, about a centre in voxels."""
        zoom = self.R.uniform()  # small fields are small in all directions
        box = []
        for n, mm, small, large, middle in zip(
            shape, self.spacing_mm, self.smallest_mm, self.largest_mm, centre, strict=True
        ):
            part = min(1.0, max(0.0, zoom + self.R.uniform(-0.2, 0.2)))
            size = min(n, round((small + part * (large - small)) / mm))
            start = round(middle + self.R.normal(0.0, self.jitter_mm) / mm - size / 2)
            start = min(max(0, start), n - size)
            box.append(slice(start, start + size))
        return tuple(box)

    def _centre(self, data: Mapping[Hashable, Any], shape: Sequence[int]) -> list[float]:
        for key, value in self.targets.items():
            if key in data:
                places = torch.nonzero(torch.as_tensor(data[key])[0] == value)
                if len(places):
                    return [float(c) for c in places.float().mean(0)]
        return [float(self.R.uniform(0, n)) for n in shape]
