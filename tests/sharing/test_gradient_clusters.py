# SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, squareform
from torch import Tensor

from sfg_med.sharing import GradientClusters

TASKS = ("ct", "organs", "bone")


def planted(seed: int, batches: int = 40, noise: float = 2.0) -> list[Tensor]:
    """Gradients of mini-batches: tasks 0 and 2 pull alike, task 1 elsewhere, each with more noise than signal."""
    generator = torch.Generator().manual_seed(seed)
    common, other = torch.randn(2, 500, generator=generator)
    signal = torch.stack([common, other, 0.9 * common])
    return [signal + noise * torch.randn(3, 500, generator=generator) for _ in range(batches)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rank", [None, 2])
def test_tasks_of_the_same_gradient_are_grouped(seed: int, rank: int | None) -> None:
    gathered = GradientClusters(TASKS)
    for gradients in planted(seed):
        gathered.update(gradients)
    assert gathered.clusters(0.5, rank) == ((0, 2), (1,))
    assert gathered.clusters(1e-6, rank) == ((0,), (1,), (2,))
    assert gathered.clusters(2.1, rank) == ((0, 1, 2),)


@pytest.mark.parametrize("seed", range(4))
def test_one_mini_batch_does_not_tell_what_their_mean_tells(seed: int) -> None:
    gathered = GradientClusters(TASKS)
    gathered.update(planted(seed)[0])
    assert gathered.clusters(0.5) == ((0,), (1,), (2,))


def test_the_scale_of_a_loss_does_not_matter() -> None:
    gathered, scaled = GradientClusters(TASKS), GradientClusters(TASKS)
    for gradients in planted(0):
        gathered.update(gradients)
        scaled.update(gradients * torch.tensor([1e4, 1.0, 1e-4])[:, None])
    for rank in (None, 2):
        torch.testing.assert_close(scaled.distances(rank), gathered.distances(rank), atol=1e-5, rtol=0)
    assert scaled.clusters(0.5, rank=2) == ((0, 2), (1,))


def test_the_mean_is_numpys() -> None:
    batches = planted(1, batches=7)
    gathered = GradientClusters(TASKS)
    for gradients in batches:
        gathered.update(gradients)
    np.testing.assert_allclose(gathered.mean, np.stack(batches).mean(0), atol=1e-5)


def test_a_decaying_mean_forgets() -> None:
    gathered = GradientClusters(("a", "b"), decay=0.9)
    for value in [5.0] * 20 + [-1.0] * 100:
        gathered.update(torch.tensor([[value, 0.0], [-1.0, 0.1]]))
    # the first twenty are equal, so the mean starts at 5 and forgets a tenth of it with each of the hundred
    assert gathered.mean[0, 0].item() == pytest.approx(5 * 0.9**100 - (1 - 0.9**100), abs=1e-5)
    assert gathered.clusters(0.5) == ((0, 1),)
    plain = GradientClusters(("a", "b"))
    for value in [5.0] * 20 + [-0.1] * 100:
        plain.update(torch.tensor([[value, 0.0], [-1.0, 0.1]]))
    assert plain.clusters(0.5) == ((0,), (1,))


def test_tasks_without_cases_keep_their_mean() -> None:
    gathered = GradientClusters(("a", "b"))
    gathered.update(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    gathered.update(torch.tensor([[3.0, 4.0], [torch.nan, 0.0]]), seen=[True, False])
    gathered.update(torch.tensor([[0.0, 0.0], [5.0, 8.0]]), seen=torch.tensor([False, True]))
    assert gathered.mean.tolist() == [[2.0, 3.0], [4.0, 6.0]]
    assert gathered.counts.tolist() == [2, 2]


def test_full_rank_keeps_the_gradients_cosines_and_truncation_is_the_best_approximation() -> None:
    gathered = GradientClusters(("a", "b", "c", "d"))
    gradients = torch.randn(4, 30)
    gathered.update(gradients)
    np.testing.assert_allclose(gathered.distances(), cdist(gradients, gradients, "cosine"), atol=1e-6)
    unit = gradients / gradients.norm(dim=1, keepdim=True)
    factors = gathered.factors(2)
    assert factors.shape == (4, 2)
    # Eckart-Young: what is left over is what the other singular values hold
    values = np.linalg.svd(unit.numpy(), compute_uv=False)
    left = (unit.double() @ unit.double().T).trace() - (factors @ factors.T).trace()
    assert left.item() == pytest.approx((values[2:] ** 2).sum(), rel=1e-5)
    assert gathered.factors(9).shape == (4, 4)


@pytest.mark.parametrize("threshold", [0.6, 0.9, 1.0, 1.2])
def test_clusters_are_scipys(threshold: float) -> None:
    for seed in range(5):
        gathered = GradientClusters([f"t{i}" for i in range(7)])
        gathered.update(torch.randn(7, 4, generator=torch.Generator().manual_seed(seed)))
        distances = gathered.distances().numpy()
        labels = fcluster(linkage(squareform(distances, checks=False), "average"), threshold, "distance")
        expected = sorted(tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels))
        assert list(gathered.clusters(threshold)) == expected


def test_other_metrics_group_otherwise() -> None:
    gathered = GradientClusters(TASKS)
    # organs and bone are opposed, which their absolute cosine does not see
    gathered.update(torch.tensor([[1.0, 0.0], [0.3, 1.0], [0.1, -1.0]]))
    assert gathered.clusters(0.8) == ((0, 1), (2,))

    def unsigned(factors: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(factors, dim=1)
        return 1 - (unit @ unit.T).abs()

    assert gathered.clusters(0.5, metric=unsigned) == ((0,), (1, 2))
    # between directions of length 1: sqrt(2 * cosine distance)
    torch.testing.assert_close(gathered.distances(metric="euclidean"), (2 * gathered.distances()).sqrt())


def test_a_zero_gradient_is_unrelated_and_a_lone_task_is_alone() -> None:
    gathered = GradientClusters(TASKS)
    gathered.update(torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0]]))
    assert gathered.distances().numpy() == pytest.approx(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]), abs=1e-6)
    assert gathered.clusters(0.9) == ((0, 2), (1,))
    alone = GradientClusters(("a",))
    alone.update(torch.ones(1, 3))
    assert alone.clusters(0.5) == ((0,),)


def test_a_resumed_run_goes_on_where_it_was() -> None:
    batches = planted(3, batches=10)
    whole, first, second = (GradientClusters(TASKS, decay=0.8) for _ in range(3))
    for gradients in batches:
        whole.update(gradients)
    for gradients in batches[:4]:
        first.update(gradients)
    state = first.state_dict()
    first.update(batches[9])  # the state is a copy
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for gradients in batches[4:]:
        second.update(gradients)
    assert torch.equal(second.mean, whole.mean)
    assert torch.equal(second.counts, whole.counts)
    # before any mini-batch too
    second.load_state_dict(GradientClusters(TASKS).state_dict())
    second.update(batches[0])
    torch.testing.assert_close(second.mean, batches[0])


def test_the_callers_gradients_are_copied() -> None:
    gathered = GradientClusters(("a", "b"))
    gradients = torch.ones(2, 3)
    gathered.update(gradients)
    gradients.zero_()
    assert gathered.mean.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_mistakes_are_refused() -> None:
    gathered = GradientClusters(TASKS)
    with pytest.raises(ValueError, match="no gradients yet"):
        gathered.clusters(0.5)
    with pytest.raises(ValueError, match=r"\['organs'\] are not finite"):
        gathered.update(torch.tensor([[1.0], [torch.inf], [1.0]]))
    gathered.update(torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        gathered.update(torch.ones(3, 5))
    with pytest.raises(ValueError, match="rank"):
        gathered.factors(0)
    with pytest.raises(ValueError, match="decay"):
        GradientClusters(TASKS, decay=0)
    with pytest.raises(ValueError, match="2 tasks"):
        GradientClusters(("a", "b")).load_state_dict(gathered.state_dict())
