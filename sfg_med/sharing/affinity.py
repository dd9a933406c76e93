# SPDX-License-Identifier: Apache-2.0
"""How alike the features of single-task networks are: representation similarity analysis (RSA).

Branched Multi-Task Networks (Vandenhende et al., BMVC 2020, arXiv 1904.02920; methods.md section 3): at each point of
the network the correlation distances between images describe a task's features, and the rank correlation of two
tasks' distances is the tasks' affinity there.

What the paper leaves open, and the choice here: where a correlation is undefined because one side is constant (an
image whose features are all equal, a task to which all images look the same), it counts as 0, "unrelated".
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

# Features are widened to double precision this many at a time, so that K images of any size need little memory.
BLOCK = 1 << 14
# A variation smaller than this part of the features' size is float32's rounding, not variation.
CONSTANT = 1e-6


def rdm(features: Tensor) -> Tensor:
    """Representation dissimilarity matrix: 1 - Pearson correlation between each two images' features.

    Args:
        features: ``(K, F)``, a row for each image.

    Returns:
        ``(K, K)`` in double precision, symmetric, zero on the diagonal, at most 2. An image with constant features
        is at distance 1 from every other image.

    Raises:
        ValueError: if the features are no matrix or not finite.
    """
    if features.dim() != 2 or features.shape[1] == 0:
        raise ValueError(f"expected features of shape (images, features), found {tuple(features.shape)}")
    mean = features.mean(1, keepdim=True, dtype=torch.float64)
    gram = torch.zeros(len(features), len(features), dtype=torch.float64, device=features.device)
    size = torch.zeros_like(mean)
    for block in features.split(BLOCK, dim=1):
        wide = block.double()
        size += wide.square().sum(1, keepdim=True)
        wide = wide - mean
        gram += wide @ wide.T
    if not gram.isfinite().all():
        raise ValueError("the features hold values that are not finite")
    deviation = gram.diagonal().sqrt()
    varies = deviation > CONSTANT * size.flatten().sqrt()
    scale = torch.where(varies, deviation, torch.inf)
    distance = 1 - (gram / scale[:, None] / scale).clamp(-1, 1)
    return distance.fill_diagonal_(0)


def compare_rdms(rdms: Iterable[Tensor]) -> Tensor:
    """Spearman correlation between the strict upper triangles of the tasks' dissimilarity matrices.

    The strict triangle only: a diagonal of zeros common to all tasks would raise every affinity.

    Args:
        rdms: for each of T tasks ``(K, K)``, of the same images in the same order.

    Returns:
        ``(T, T)`` in double precision, ones on the diagonal.

    Raises:
        ValueError: for different numbers of images, or fewer than three (two have one distance and no ranks).
    """
    from scipy.stats import rankdata  # a second that no other use of this package needs

    matrices = [matrix.cpu() for matrix in rdms]
    images = len(matrices[0])
    if images < 3 or any(matrix.shape != (images, images) for matrix in matrices):
        raise ValueError(
            f"expected distances of the same three or more images for every task, "
            f"found {[tuple(matrix.shape) for matrix in matrices]}"
        )
    row, column = torch.triu_indices(images, images, offset=1)
    # Rounding must not rank distances that are equal in truth.
    triangles = torch.stack([matrix[row, column] for matrix in matrices]).round(decimals=12)
    # Spearman's correlation is Pearson's of the ranks, which for constant distances is undefined in the same way.
    return 1 - rdm(torch.from_numpy(rankdata(triangles.numpy(), axis=1)))


def point_affinity(features: Iterable[Tensor]) -> Tensor:
    """Affinity of the tasks at one point of the network.

    Args:
        features: for each of T tasks ``(K, F)``, the flattened features of the same K images in the same order; F may
            differ. A generator keeps only one task's features in memory.

    Returns:
        ``(T, T)`` (see :func:`compare_rdms`).
    """
    return compare_rdms([rdm(x) for x in features])


def affinities(features_by_point: Iterable[Iterable[Tensor]]) -> Tensor:
    """Affinity of the tasks at each of D points.

    Args:
        features_by_point: for each point in forward order, for each task, features as in :func:`point_affinity`.

    Returns:
        ``(D, T, T)`` in double precision.
    """
    return torch.stack([point_affinity(features) for features in features_by_point])
