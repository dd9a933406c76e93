# SPDX-License-Identifier: Apache-2.0
"""Fixed patterns: their compact form, constant masks, and branches against a tree by hand."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear, max_pool2d, prelu

from sfg_med.networks import NETWORKS, MultiTaskNetwork
from sfg_med.sharing import SharingConv, patterns
from sfg_med.sharing.compact import CompactConv
from sfg_med.sharing.groups import TaskGroups
from tests.networks.backbone_networks import randomise
from tests.networks.strategy_networks import build, image, kernel_counts, numbers

FIXED = ("single-task", "hard-sharing", "constant-mask", "branched")


@pytest.mark.parametrize(("network", "name"), product(NETWORKS, FIXED))
def test_fixed_patterns_come_compact(network: str, name: str) -> None:
    net = build(network, name, 3)
    assert not any(isinstance(m, SharingConv) for m in net.modules())
    assert any(isinstance(m, CompactConv) for m in net.modules())
    probabilities = net.group_probabilities()
    assert all(set(p.unique().tolist()) <= {0, 1} and torch.equal(p.sum(1), torch.ones(len(p)))
               for p in probabilities.values())  # fmt: skip


@pytest.mark.parametrize(("network", "name"), product(NETWORKS, FIXED))
def test_one_task_can_be_taken_from_a_fixed_pattern(network: str, name: str) -> None:
    net = build(network, name, 3).double().eval()
    x = image().double()
    expected = net.split(net(x))
    for task in net.tasks:
        single = net.compact(task)
        torch.testing.assert_close(single(x), expected[task], rtol=1e-9, atol=1e-9)
        assert sum(p.numel() for p in single.parameters()) < sum(p.numel() for p in net.parameters())


def test_blocks_of_fixed_patterns_start_as_layers_of_their_own() -> None:
    net = build("SFGVGG", "single-task", channels=[64, 64, 64])
    for module in (net.blocks[1][0].conv, net.blocks[2][0].conv):
        for weight in module.weights:
            assert weight.shape == (32, 32, 3, 3)
            assert weight.std().item() == pytest.approx((2 / (1 + 0.01**2) / (32 * 9)) ** 0.5, rel=0.05)


def test_equal_parts_leave_kernels_over() -> None:
    net = build("SFGVGG", "single-task", 2, channels=[5, 7, 9])
    assert list(kernel_counts(net).values()) == [4, 6, 8]


# --- constant masks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernels", "shares", "counts"),
    [
        (9, None, [3, 3, 3]),
        (8, None, [4, 2, 2]),  # all are the largest: the first one
        (10, {"a": 0.25, "a+b": 0.5, "b": 0.25}, [2, 6, 2]),
        (7, {"a": 0.29, "a+b": 0.42, "b": 0.29}, [2, 3, 2]),
        (100, {"a": 0.29, "a+b": 0.42, "b": 0.29}, [29, 42, 29]),  # 0.29 * 100 is 28.999999999999996
        (16, {"a": 0.01, "a+b": 0.98, "b": 0.01}, [0, 16, 0]),
    ],
)
def test_constant_masks_are_floored_and_the_rest_goes_to_the_largest(
    kernels: int, shares: dict[str, float] | None, counts: list[int]
) -> None:
    groups = TaskGroups.make(("a", "b"))
    pattern = patterns.constant_mask(("a", "b"), 2, shares)
    found = pattern.assignment(1, kernels, groups).tolist()
    assert found == [0] * counts[0] + [1] * counts[1] + [2] * counts[2], "task 1, shared, task 2"
    assert pattern.copies == (1, 1)


def test_constant_mask_of_a_network() -> None:
    net = build("SFGVGG", {"name": "constant-mask", "shares": {"a": 0.2, "a+b": 0.5, "b": 0.3}}, channels=[10, 10, 20])
    found = {n: p.sum(0).int().tolist() for n, p in net.group_probabilities().items()}
    assert list(found.values()) == [[2, 5, 3], [2, 5, 3], [4, 10, 6]]
    three = build("SFGVGG", "constant-mask", 3, channels=[8, 8, 9])
    assert three.groups.names == ("a", "a+b+c", "b", "c")
    assert next(iter(three.group_probabilities().values())).sum(0).tolist() == [2, 2, 2, 2]


def test_kernels_that_may_read_nothing_stay_that_way_in_training() -> None:
    """Rounding leaves a layer without shared kernels; those of the next have a bias only, and no door to a task."""
    shares = {"a": 0.4, "a+b": 0.2, "b": 0.4}
    net = build("SFGVGG", {"name": "constant-mask", "shares": shares}, channels=[4, 10, 10])
    assert net.blocks[0][0].conv.assignment.unique().tolist() == [0, 2]
    layer = net.blocks[1][0].conv
    assert layer.assignment.unique().tolist() == [0, 1, 2]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(2):
        (net(image()) ** 2).sum().backward()
        optimizer.step()
    assert torch.count_nonzero(layer.weights[1]) == 0
    assert torch.count_nonzero(layer.weights[0]) > 0


# --- branches ---------------------------------------------------------------------------------------------------------


def by_hand(net: MultiTaskNetwork, x: Tensor) -> Tensor:
    """VGG of three stages: all tasks; {a, c} and b; {a}, {c} and b, at full width each."""
    state = dict(net.named_parameters())

    def layer(stage: int, x: Tensor, block: int, channels: slice) -> Tensor:
        """Convolution of one branch, PReLU, batch norm."""
        name = f"blocks.{stage}.0"
        y = conv2d(x, state[f"{name}.conv.weights.{block}"], padding=1)
        y = prelu(y, state[f"{name}.act.weight"][channels])
        mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        scale, shift = (state[f"{name}.norms.0.{p}"][channels][:, None, None] for p in ("weight", "bias"))
        return (y - mean) / (variance + 1e-5).sqrt() * scale + shift

    trunk = max_pool2d(layer(0, x, 0, slice(0, 6)), 2)
    # Groups in order: a, a+c, b, c. Stage 1 has a+c and b; stage 2 a, b and c.
    both, alone = (max_pool2d(layer(1, trunk, i, slice(9 * i, 9 * i + 9)), 2) for i in (0, 1))
    ends = [layer(2, read, i, slice(9 * i, 9 * i + 9)).mean((2, 3)) for i, read in enumerate((both, alone, both))]
    heads = [linear(e, state[f"head.weights.{i}"][:, :, 0, 0], state[f"head.biases.{i}"]) for i, e in enumerate(ends)]
    return torch.cat(heads, 1)


TREE = [[["a", "b", "c"]], [["a", "c"], ["b"]], [["a"], ["b"], ["c"]]]


def test_a_branched_network_is_the_tree_written_by_hand() -> None:
    net = randomise(build("SFGVGG", {"name": "branched", "tree": TREE}, 3))
    assert list(kernel_counts(net).values()) == [6, 18, 27]
    x = image().double()
    torch.testing.assert_close(net(x), by_hand(net, x), rtol=1e-9, atol=1e-9)
    # 6, 2 x 9, 3 x 9 kernels of 9 values, with slope, scale and shift; a row of 9 weights and a bias for each output.
    assert numbers(net) == 6 * (9 + 3) + 18 * (6 * 9 + 3) + 27 * (9 * 9 + 3) + 5 * 10


def test_a_branched_network_may_share_the_kernels_out() -> None:
    net = build("SFGVGG", {"name": "branched", "tree": TREE, "full": False}, 3)
    counts = [p.sum(0).int().tolist() for p in net.group_probabilities().values()]
    assert net.groups.names == ("a", "a+b+c", "a+c", "b", "c")
    assert counts == [[0, 6, 0, 0, 0], [0, 0, 4, 4, 0], [3, 0, 0, 3, 3]]
