# SPDX-License-Identifier: Apache-2.0
"""Parameters and arithmetic, against counts by hand."""

import pytest
import torch

from sfg_med.networks import SFGUNet, build_network
from sfg_med.networks.cost import network_cost
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

SPEC = ModelSpec(tasks=(ImageTask(), LabelTask(labels={"a": 1})))
NET = {"name": "SFGUNet", "spatial_dims": 2, "channels": [4, 8]}


def by_hand(parts: int, copies: int) -> tuple[int, float]:
    """U-Net of ``parts`` networks, each with ``1 / parts`` of the kernels times ``copies``, on 16 x 16 pixels."""
    a, b = 4 * copies // parts, 8 * copies // parts
    # (kernels, channels read, kernel elements, pixels, bias) of each network's convolutions; norms have 2 a kernel
    layers = [(a, 1, 9, 256, 0), (a, a, 9, 256, 0), (b, a, 9, 64, 0), (b, b, 9, 64, 0)]
    layers += [(a, b, 1, 64, 1), (a, 2 * a, 9, 256, 0), (a, a, 9, 256, 0)]
    parameters = sum(k * c * n + (k if bias else 2 * k) for k, c, n, _, bias in layers) * parts
    flops = sum(2 * k * c * n * pixels for k, c, n, pixels, _ in layers) * parts
    heads = 3 * a  # one channel of the image and two of the labels each read one network
    return parameters + heads + 3, (flops + 2 * heads * 256) / 1e9


@pytest.mark.parametrize(
    ("strategy", "parts", "copies"),
    [
        ("hard-sharing", 1, 1),
        ("single-task", 2, 1),
        ({"name": "single-task", "full": True}, 2, 2),
        ({"name": "single-task", "width": 2.0}, 2, 2),
    ],
)
def test_cost_by_hand(strategy: object, parts: int, copies: int) -> None:
    network = build_network(ModelSpec(tasks=SPEC.tasks, network={**NET, "strategy": strategy}))
    assert network_cost(network, (1, 1, 16, 16)) == pytest.approx(by_hand(parts, copies))


def test_learned_groups_are_counted_as_they_are_deployed_and_drawn_ones_as_they_stand() -> None:
    network = SFGUNet(2, 1, SPEC.channels, (4, 8))
    network.set_groups({n: torch.tensor([0, 2] * (len(p) // 2)) for n, p in network.group_probabilities().items()})
    assert network_cost(network, (1, 1, 16, 16)) == pytest.approx(by_hand(2, 1))
    drawn = build_network(ModelSpec(tasks=SPEC.tasks, network={**NET, "strategy": "constant-p"}))
    parameters, gflops = network_cost(drawn, (1, 1, 16, 16))
    learned = sum(p.numel() for n, p in drawn.named_parameters() if n.endswith("rho"))
    expected = by_hand(1, 1)
    assert parameters - learned == expected[0]
    assert expected[1] < gflops < 1.01 * expected[1]  # the masks are products of small matrices
