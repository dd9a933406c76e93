# SPDX-License-Identifier: Apache-2.0
"""What the random transforms share: draw numbers first, then apply them to the keys that are there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor


class RandImaged(RandomizableTransform, MapTransform):
    """A random change of images ``(1, X, Y, Z)``, with one draw for all keys.

    Sub-classes draw in :meth:`draw` and change an image in :meth:`change`, so that tests can set what is drawn.

    Args:
        keys: images to change; missing ones are passed over.
        prob: probability of a change.
    """

    def __init__(self, keys: KeysCollection, prob: float) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys=True)
        RandomizableTransform.__init__(self, prob)

    def draw(self) -> dict[str, Any]:
        """Numbers of one change, the arguments of :meth:`change`."""
        raise NotImplementedError

    def change(self, image: Tensor, **drawn: Any) -> Tensor:
        """The changed image."""
        raise NotImplementedError

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the images, or pass them on."""
        result = dict(data)
        self.randomize(None)
        if self._do_transform:
            drawn = self.draw()
            for key in self.key_iterator(result):
                result[key] = self.change(result[key], **drawn)
        return result
