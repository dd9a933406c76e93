# SPDX-License-Identifier: Apache-2.0
"""Which tasks pull the same weights the same way: clusters of factorised gradients.

Selective Sharing (Strezoski et al., ICMR 2019, arXiv 1904.03011; methods.md section 4): the tasks' gradients are
accumulated over mini-batches and factorised, the factors clustered by a chosen metric, and the tasks of a cluster
keep one estimator. The full text could not be retrieved, so nearly all details are choices of this file:

- what is accumulated: the mean of the gradients over mini-batches, or one that forgets (``decay``);
- the factorisation: the singular value decomposition of the tasks' gradients, each scaled to length 1 first, because
  losses of different units would otherwise leave the truncation nothing but the largest task; not centred;
- the metric: cosine distance (0 the same direction, 1 unrelated, 2 opposed), or another by name or function;
- the clustering: agglomerative with average linkage, merging as long as the distance is below a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sfg_med.sharing.branching import Partition, as_partition

Metric = str | Callable[[Tensor], Tensor]


class GradientClusters:
    """Gathers the tasks' gradients of some weights that all tasks have in the same form, and clusters the tasks.

    Args:
        tasks: task names.
        decay: how much of the mean a new mini-batch leaves in place at the least; 1 weighs all mini-batches alike,
            0.99 roughly the last hundred.

    Example:
        >>> clusters = GradientClusters(("a", "b", "c"))
        >>> clusters.update(torch.tensor([[1.0, 0.1], [0.9, 0.2], [-1.0, 1.0]]))
        >>> clusters.clusters(threshold=0.5)
        ((0, 1), (2,))
    """

    def __init__(self, tasks: Sequence[str], decay: float = 1.0) -> None:
        if not tasks or not 0 < decay <= 1:
            raise ValueError(f"expected tasks and a decay above 0 and at most 1, got {tuple(tasks)} and {decay}")
        self.tasks = tuple(tasks)
        self.decay = decay
        self.mean = torch.zeros(len(tasks), 0)
        self.counts = torch.zeros(len(tasks), dtype=torch.long)

    @torch.no_grad()
    def update(self, gradients: Tensor, seen: Sequence[bool] | Tensor | None = None) -> None:
        """Add one mini-batch.

        Args:
            gradients: ``(T, N)``, for each task the flattened gradient of its loss.
            seen: for each task whether the mini-batch held cases for it; rows of the others are ignored.

        Raises:
            ValueError: for another shape than before, or a gradient that is not finite.
        """
        expected = self.mean.shape[1] or gradients.shape[-1]
        if gradients.shape != (len(self.tasks), expected):
            raise ValueError(f"expected gradients of shape {(len(self.tasks), expected)}, got {tuple(gradients.shape)}")
        rows = torch.arange(len(self.tasks)) if seen is None else torch.as_tensor(seen).cpu().nonzero().flatten()
        # A copy of its own on the CPU: training goes on with the gradients, and nothing here is worth a device.
        new = gradients[rows.to(gradients.device)].float().cpu()
        bad = [self.tasks[int(task)] for task, row in zip(rows, new, strict=True) if not row.isfinite().all()]
        if bad:
            raise ValueError(f"the gradients of {bad} are not finite")
        if self.mean.shape[1] == 0:
            self.mean = torch.zeros(len(self.tasks), expected)
        self.counts[rows] += 1
        weight = (1 / self.counts[rows]).clamp_min(1 - self.decay)
        self.mean[rows] += weight[:, None] * (new - self.mean[rows])

    def factors(self, rank: int | None = None) -> Tensor:
        """The tasks' coordinates along the leading directions of their gradients.

        Args:
            rank: number of directions, the ones of the largest singular values; ``None`` or more than there are keeps
                all, so that the cosines are those of the gradients themselves.

        Returns:
            ``(T, rank)`` in double precision. A task with a zero gradient has zero factors.

        Raises:
            ValueError: before the first mini-batch of some task, or for a rank below 1.
        """
        missing = [task for task, count in zip(self.tasks, self.counts, strict=True) if count == 0]
        if missing:
            raise ValueError(f"no gradients yet of {missing}")
        if rank is not None and rank < 1:
            raise ValueError(f"a rank is at least 1, got {rank}")
        directions = torch.nn.functional.normalize(self.mean.double(), dim=1)
        left, values, _ = torch.linalg.svd(directions, full_matrices=False)
        return (left * values)[:, :rank]

    def distances(self, rank: int | None = None, metric: Metric = "cosine") -> Tensor:
        """``(T, T)`` distances between the tasks' factors.

        Args:
            rank: see :meth:`factors`.
            metric: a name that scikit-learn's ``pairwise_distances`` knows, or a function of the ``(T, rank)`` factors
                that returns the ``(T, T)`` distances. By cosine a task with a zero gradient is at 1 from all others.
        """
        from sklearn.metrics import pairwise_distances  # half a second that only this strategy needs

        factors = self.factors(rank)
        if callable(metric):
            return metric(factors)
        return torch.from_numpy(pairwise_distances(factors.numpy(), metric=metric))

    def clusters(self, threshold: float, rank: int | None = None, metric: Metric = "cosine") -> Partition:
        """Groups of tasks whose mean distance from each other is below the threshold.

        Args:
            threshold: tasks are merged below this distance; 1 by cosine merges whatever agrees more than chance.
            rank: see :meth:`factors`.
            metric: see :meth:`distances`.

        Returns:
            A sorted tuple of clusters, each a sorted tuple of task indices.
        """
        from sklearn.cluster import AgglomerativeClustering

        if len(self.tasks) == 1:
            return ((0,),)
        model = AgglomerativeClustering(
            n_clusters=None, metric="precomputed", linkage="average", distance_threshold=threshold
        )
        labels = model.fit_predict(self.distances(rank, metric).numpy()).tolist()
        return as_partition([task for task, at in enumerate(labels) if at == label] for label in set(labels))

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint needs."""
        return {"mean": self.mean.clone(), "counts": self.counts.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: if it was written for another number of tasks.
        """
        if state["counts"].shape != self.counts.shape:
            raise ValueError(f"expected gradients of {len(self.tasks)} tasks, found {len(state['counts'])}")
        self.mean, self.counts = state["mean"].clone(), state["counts"].clone()
