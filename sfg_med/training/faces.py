# SPDX-License-Identifier: Apache-2.0
"""Parts and batches of the faces (configs/utkface.yaml)."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from torch.utils.data import Sampler

from sfg_med.data.faces import Faces, load_faces
from sfg_med.data.splits import PARTS, fold_splits, make_splits
from sfg_med.errors import SfgMedError

logger = logging.getLogger(__name__)


def face_parts(
    source: str,
    size: int,
    *,
    input_name: str = "face",
    cache_dir: str | None = None,
    fraction: float = 1.0,
    fraction_parts: Sequence[str] = PARTS,
    folds: int = 0,
    fold: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Items for :class:`sfg_med.transforms.EncodePictured` by part: 70 % train, 15 % validate, 15 % test.

    Images are in a random order that stays the same. File names start with the age; in their order, batches of one age
    would lose the age to a batch norm with batch statistics.

    Args:
        source: folder or tar.
        size: edge of the images in pixels.
        input_name: key of the picture.
        cache_dir: see :func:`sfg_med.data.faces.load_faces`.
        fraction: part of the images to use; a smaller set is a part of the larger ones with the same seed.
        fraction_parts: which parts are made smaller.
        folds: number of cross-validation folds instead of the fixed parts; 0 for none.
        fold: the fold that tests.
        seed: of the parts, the order and the smaller sets; not of the training.

    Raises:
        SfgMedError: for a source without usable images or a part that would be empty.
    """
    if not 0 < fraction <= 1:
        raise SfgMedError("fraction", "more than 0, at most 1", str(fraction), "change it")
    faces = load_faces(Path(source), size, None if cache_dir is None else Path(cache_dir))
    _report(faces)
    rows = {face.case: face for face in faces.faces}
    splits = fold_splits(list(rows), folds, fold, seed) if folds else make_splits(list(rows), seed)
    parts: dict[str, Any] = {}
    for number, part in enumerate(PARTS):
        order = np.random.default_rng([seed, number]).permutation(len(splits[part]))
        count = math.ceil(len(order) * fraction - 1e-9) if part in fraction_parts else len(order)
        chosen = [rows[splits[part][i]] for i in order[:count]]
        parts[part] = [
            {"case": face.case, input_name: faces.images[face.row], "age": face.age, "gender": face.gender}
            for face in chosen
        ]
        if not chosen:
            raise SfgMedError(source, f"images for {part}", f"{len(rows)} images", "add some or raise fraction")
    return {**parts, "datasets": [Path(source).name]}


def _report(faces: Faces) -> None:
    for line in faces.skipped:
        logger.warning("skipped %s", line)
    if faces.skipped:
        logger.warning("%d images skipped, %d used", len(faces.skipped), len(faces.faces))


class EvenBatches(Sampler[list[int]]):
    """This process's part of batches that are the same every time, of sizes that differ by one at most.

    With batch statistics at test time a picture's prediction depends on its batch, and a small last batch would have
    poor statistics. Several processes share the batches out; where there are fewer batches than processes, each process
    takes all of them, as MONAI's engines hang on a process without any.

    Args:
        length: number of samples.
        batch_size: largest size of a batch.
    """

    def __init__(self, length: int, batch_size: int) -> None:
        parts = np.array_split(np.arange(length), math.ceil(length / batch_size))
        self.batches: list[list[int]] = [part.tolist() for part in parts]

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._own())

    def __len__(self) -> int:
        return len(self._own())

    def _own(self) -> list[list[int]]:
        rank, processes = idist.get_rank(), idist.get_world_size()
        return self.batches[rank::processes] if len(self.batches) >= processes else self.batches


def whole_epochs(passes: float, samples: int, batch_size: int, steps_per_epoch: int) -> int:
    """Steps that show every sample ``passes`` times, rounded up to whole epochs of ``steps_per_epoch``."""
    return math.ceil(passes * samples / batch_size / steps_per_epoch) * steps_per_epoch
