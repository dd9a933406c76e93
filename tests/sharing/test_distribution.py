# SPDX-License-Identifier: Apache-2.0
"""The start of p at the corners of the simplex."""

import pytest
import torch

from sfg_med.networks import SFGUNet
from sfg_med.sharing import TaskGroups, initial_probabilities


@pytest.mark.parametrize("kernels", [1, 7, 12, 193])
@pytest.mark.parametrize("pattern", ["singletons", "lattice"])
def test_vertices_give_each_group_as_many_kernels(kernels: int, pattern: str) -> None:
    groups = TaskGroups.make(("a", "b", "c"), pattern)
    p = initial_probabilities(groups, kernels, "vertices")
    assert p.shape == (kernels, len(groups))
    assert p.sum(1).tolist() == pytest.approx([1.0] * kernels)
    assert p.max(1).values.tolist() == pytest.approx([0.99] * kernels)
    counts = torch.bincount(p.argmax(1), minlength=len(groups))
    assert counts.max() - counts.min() <= 1
    assert p[0].sort().values[:-1].tolist() == pytest.approx([0.01 / (len(groups) - 1)] * (len(groups) - 1))


def test_the_network_starts_there_and_unknown_names_are_refused() -> None:
    network = SFGUNet(2, channels=(6, 9), group_init="vertices")
    for p in network.group_probabilities().values():
        assert sorted(p[0].tolist()) == pytest.approx([0.005, 0.005, 0.99], abs=1e-5)
        assert torch.bincount(p.argmax(1)).tolist() == [len(p) // 3] * 3
    with pytest.raises(ValueError, match="vertices"):
        SFGUNet(2, channels=(6, 9), group_init="corners")
    assert initial_probabilities(TaskGroups.make(("a",)), 4, "vertices").tolist() == [[1.0]] * 4
