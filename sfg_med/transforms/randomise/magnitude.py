# SPDX-License-Identifier: Apache-2.0
"""Back from the normalised image to a magnitude image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from sfg_med.transforms.normalize import bright_end


class ToMagnituded(MapTransform):
    """Shift and scale so that the darkest voxel is 0 and the 99th percentile 1, as random transforms expect.

    A normalised MR is negative in air; noise of a magnitude image, ghosts and shading need it back.

    Args:
        keys: images to change.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the images."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key] - result[key].min()
            result[key] = image / bright_end(image).clamp_min(1e-6)
        return result
