# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from sfg_med.sharing import affinities, compare_rdms, point_affinity, rdm
from sfg_med.sharing.affinity import BLOCK


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [2, 40, 2 * BLOCK + 7])
def test_distances_are_one_minus_numpys_correlation(width: int) -> None:
    # an offset far from zero: sums of squares alone would lose the digits
    x = random(6, width) * torch.arange(1, 7)[:, None] + 100
    numpy = 1 - np.corrcoef(x.double().numpy())
    np.testing.assert_allclose(rdm(x).numpy(), numpy, atol=1e-10)


@settings(deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 100), st.floats(-100, 100))
def test_distances_do_not_see_a_positive_scale_or_an_offset(seed: int, scale: float, offset: float) -> None:
    x = random(4, 30, seed=seed).double()
    torch.testing.assert_close(rdm(scale * x + offset), rdm(x), atol=1e-9, rtol=0)
    torch.testing.assert_close(rdm(-x), rdm(x), atol=1e-9, rtol=0)


def test_opposite_images_are_at_distance_two_and_equal_ones_at_zero() -> None:
    x = random(1, 20)
    assert rdm(torch.cat([x, 3 * x + 1, -x])).numpy() == pytest.approx(np.array([[0, 0, 2], [0, 0, 2], [2, 2, 0]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("rounding", [0.0, 1e-7])
def test_a_constant_image_is_unrelated_to_all_others(level: float, rounding: float, dtype: torch.dtype) -> None:
    x = random(4, 30).to(dtype)
    x[1] = level * (1 + rounding * random(30, seed=1))
    distance = rdm(x)
    assert distance[1].tolist() == [1, 0, 1, 1]
    assert distance[:, 1].tolist() == [1, 0, 1, 1]
    others = [0, 2, 3]
    np.testing.assert_allclose(distance[others][:, others], 1 - np.corrcoef(x[others].double().numpy()), atol=1e-10)


def test_a_small_feature_is_no_constant_one() -> None:
    x = random(4, 30)
    torch.testing.assert_close(rdm(x * 1e-15), rdm(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused(bad: float) -> None:
    x = random(4, 30)
    x[2, 3] = bad
    with pytest.raises(ValueError, match="finite"):
        rdm(x)


def test_affinity_is_scipys_rank_correlation_of_the_strict_triangles() -> None:
    points = [[random(7, 11 + t, seed=10 * d + t) for t in range(3)] for d in range(2)]
    found = affinities(points)
    assert found.shape == (2, 3, 3)
    upper = np.triu_indices(7, 1)
    for d, tasks in enumerate(points):
        triangles = np.stack([(1 - np.corrcoef(x.double().numpy()))[upper] for x in tasks])
        np.testing.assert_allclose(found[d], spearmanr(triangles, axis=1).statistic, atol=1e-12)
        torch.testing.assert_close(found[d], point_affinity(x for x in tasks))


def test_equal_distances_share_their_rank_as_in_scipy() -> None:
    # two patterns, scaled, shifted and turned round: four distances in truth, more by rounding
    first, second = random(2, 9, seed=3).double()
    images = [first, 3.3 * first + 0.1, second, -0.7 * second, 0.01 * first - 5, 1e3 * second]
    x, y = torch.stack(images), random(6, 6)
    upper = np.triu_indices(6, 1)
    distances = rdm(x).numpy()[upper]
    assert len(set(distances)) > len(set(distances.round(9))) == 4
    expected = spearmanr(distances.round(9), rdm(y).numpy()[upper]).statistic
    assert point_affinity([x, y])[0, 1].item() == pytest.approx(expected, abs=1e-12)


def test_tasks_that_see_the_same_images_alike_have_affinity_one() -> None:
    x = random(8, 50)
    rotated = x @ torch.linalg.qr(random(50, 50, seed=1)).Q
    # correlations see no rotation of features whose mean is zero
    x, rotated = (v - v.mean(1, keepdim=True) for v in (x, rotated))
    affinity = point_affinity([x, 2 * x + 5, x[:, torch.randperm(50)], random(8, 50, seed=2)])
    torch.testing.assert_close(affinity[:3, :3], torch.ones(3, 3).double())
    assert affinity[0, 3].abs() < 0.7


def test_a_task_to_which_all_images_look_the_same_is_unrelated() -> None:
    affinity = point_affinity([random(5, 9), torch.ones(5, 9), random(5, 9, seed=1)])
    assert affinity.isfinite().all()
    assert affinity[1].tolist() == [0, 1, 0]
    assert affinity[0, 2] != 0


def test_too_few_or_different_images_are_refused() -> None:
    with pytest.raises(ValueError, match="three or more"):
        point_affinity([random(2, 5), random(2, 5)])
    with pytest.raises(ValueError, match="same"):
        compare_rdms([torch.eye(4), torch.eye(5)])
    with pytest.raises(ValueError, match="images, features"):
        rdm(random(4, 3, 2))
