# SPDX-License-Identifier: Apache-2.0
"""A random patch, turned, sheared and scaled, in one sampling of the whole case."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.transforms.utils import create_rotate, create_scale, create_shear
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from sfg_med.spec import ModelSpec
from sfg_med.transforms.crop import CENTRES


class RandAffinePatchd(Randomizable, MapTransform):
    """Patches of the specification's size, centred by chance, with a random affine map about their centre.

    MONAI's RandCropByLabelClassesd of a larger patch, then RandAffined, do the same in four times the time (one core,
    five images of a whole pelvis at 3 mm): here all images of one mode are sampled at once, in float32, and nothing is
    padded first. What lies outside the case repeats its border.

    Args:
        keys: images ``(1, X, Y, Z)`` to sample together; missing ones are passed over.
        modes: ``"bilinear"`` or ``"nearest"`` for each key.
        spec: the model; its first label task chooses the centres.
        centre: ``"anywhere"`` or ``"labels"``, see :func:`sfg_med.transforms.random_crop`.
        rotate: largest angle about each axis, in radians.
        shear: largest shear.
        scale: largest relative change of the size along each axis.
        jitter: largest distance, in voxels along each axis, of the patch's centre from a label's voxel.
        prob: probability of an affine map; without it patches are cut out straight, at whole voxels.

    Raises:
        ValueError: for an unknown ``centre``, or ``"labels"`` without a label task.
    """

    def __init__(
        self,
        keys: KeysCollection,
        modes: Sequence[str],
        spec: ModelSpec,
        centre: str = "labels",
        rotate: Sequence[float] = (0.25, 0.2, 0.2),
        shear: float = 0.06,
        scale: float = 0.18,
        jitter: Sequence[float] = (24.0, 20.0, 16.0),
        prob: float = 0.8,
    ) -> None:
        super().__init__(keys, allow_missing_keys=True)
        if centre not in CENTRES or (centre == "labels" and not spec.label_tasks):
            raise ValueError(f"centre must be one of {CENTRES}, labels only with a label task; got {centre!r}")
        self.modes = dict(zip(self.keys, modes, strict=True))
        self.task = spec.label_tasks[0] if centre == "labels" else None
        self.size = tuple(int(n) for n in spec.patch_size)
        self.rotate, self.shear, self.scale, self.jitter = tuple(rotate), shear, scale, tuple(jitter)
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the images by patches."""
        result = dict(data)
        present = list(self.key_iterator(result))
        shape = result[present[0]].shape[1:]
        centre = self.draw_centre(result, shape)
        matrix = self.draw_affine() if self.R.uniform() < self.prob else np.eye(4)
        grid = patch_grid(shape, centre, matrix, self.size)
        for mode in ("bilinear", "nearest"):
            keys = [key for key in present if self.modes[key] == mode]
            if not keys:
                continue
            images = torch.stack([torch.as_tensor(result[key])[0].float() for key in keys])
            patches = grid_sample(images[None], grid, mode=mode, padding_mode="border", align_corners=True)[0]
            for key, patch in zip(keys, patches, strict=True):
                result[key] = patch[None].to(torch.as_tensor(result[key]).dtype)
        return result

    def draw_centre(self, data: Mapping[Hashable, Any], shape: Sequence[int]) -> list[float]:
        """Centre of the patch in voxels: half of them near a voxel of a label, each that is there equally often."""
        low = [min(p / 2, n / 2) - 0.5 for p, n in zip(self.size, shape, strict=True)]
        high = [n - 1 - a for a, n in zip(low, shape, strict=True)]
        near = None
        if self.task is not None and self.R.uniform() < 0.5:
            labels = torch.as_tensor(data[self.task.name])[0].numpy()
            present = [c for c in range(1, self.task.channels) if (labels == c).any()]
            if present:
                places = np.argwhere(labels == self.R.choice(present))
                near = places[self.R.randint(len(places))] + self.R.uniform(-1, 1, 3) * self.jitter
        if near is None:
            near = self.R.uniform(low, np.maximum(low, high))
        # half voxels where the patch has an even number of them: a straight patch is cut at whole voxels
        half = [(p - 1) / 2 for p in self.size]
        clipped = np.clip(near, low, np.maximum(low, high))
        return [round(c - h) + h for c, h in zip(clipped, half, strict=True)]

    def draw_affine(self) -> NDArray[np.float64]:
        """The linear map from the patch to the case about their centres, in voxels, 4 x 4."""
        rotation = create_rotate(3, [self.R.uniform(-a, a) for a in self.rotate])
        shear = create_shear(3, self.R.uniform(-self.shear, self.shear, 6).tolist())
        scale = create_scale(3, self.R.uniform(1 - self.scale, 1 + self.scale, 3).tolist())
        return np.asarray(rotation @ shear @ scale, np.float64)


def patch_grid(
    shape: Sequence[int], centre: Sequence[float], matrix: NDArray[np.float64], size: Sequence[int]
) -> Tensor:
    """Where torch's grid_sample is to look for ``centre + matrix @ (voxel - middle of the patch)``.

    Args:
        shape: of the image.
        centre: in voxels of the image.
        matrix: 4 x 4 without translation.
        size: of the patch.

    Returns:
        ``(1, *size, 3)`` for ``align_corners=True``.
    """
    # torch's coordinates: -1 to 1 over the centres of the outer voxels, axes in reverse order
    to_unit = 2 / np.maximum(np.asarray(shape, float) - 1, 1)
    linear = matrix[:3, :3] * ((np.asarray(size) - 1) / 2)[None, :] * to_unit[:, None]
    offset = np.asarray(centre) * to_unit - 1
    theta = torch.tensor(np.concatenate([linear[::-1, ::-1], offset[::-1, None]], axis=1).copy(), dtype=torch.float32)
    return affine_grid(theta[None], [1, 1, *size], align_corners=True)
