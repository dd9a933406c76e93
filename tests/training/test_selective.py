# SPDX-License-Identifier: Apache-2.0
"""What Selective Sharing takes from an iteration."""

from types import SimpleNamespace

import torch

from sfg_med.networks import build_network
from sfg_med.spec import ModelSpec
from sfg_med.training.selective import SelectiveSharing


def test_gradients_that_overflowed_are_left_out() -> None:
    network = build_network(ModelSpec(network={"channels": [4, 8], "strategy": "selective-sharing"}))
    loss = SimpleNamespace(last={"loss_ct": 1.0, "loss_seg": 1.0})
    handler = SelectiveSharing(network, loss, steps=100)
    engine = SimpleNamespace(state=SimpleNamespace(iteration=1))
    network(torch.randn(1, 1, 8, 8, 8)).square().sum().backward()
    handler(engine)
    assert handler.gradients.counts.tolist() == [1, 1]
    before = handler.gradients.mean.clone()
    network.get_submodule(handler.layers[0]).weight.grad[0] = torch.inf
    handler(engine)
    assert handler.gradients.counts.tolist() == [1, 1]
    assert torch.equal(handler.gradients.mean, before)
