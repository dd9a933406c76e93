# SPDX-License-Identifier: Apache-2.0
"""A compact layer gives the same by blocks and dense, and notices when its weights change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sfg_med.networks import SFGUNet
from sfg_med.sharing.compact import CompactConv
from sfg_med.sharing.convolution import CHANNELS_LAST, SharingConv
from sfg_med.sharing.counting import without_zeros
from sfg_med.sharing.groups import TaskGroups
from sfg_med.sharing.kernel_groups import KernelGroups
from sfg_med.sharing.sampling import GroupPolicy


def _network() -> SFGUNet:
    network = SFGUNet(2, channels=(8, 64, 128), group_init="dirichlet").eval()
    network.round_groups()
    return network


def _layers(network: torch.nn.Module) -> list[CompactConv]:
    return [m for m in network.modules() if isinstance(m, CompactConv)]


def test_blocks_and_zeros_between_them_are_the_same_convolution() -> None:
    network = _network()
    compact = network.compact()
    x = torch.randn(2, 1, 24, 20)
    with torch.no_grad():
        expected = network(x)
        chosen = compact(x)
        with without_zeros():
            blocks = compact(x)
    for found in (chosen, blocks):
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_blocks_pay_in_wide_layers_of_single_precision() -> None:
    layers = _layers(_network().compact())
    several = [layer for layer in layers if len(layer.weights) > 1]
    paying = [layer for layer in several if layer.blocks_pay(torch.float32)]
    assert 0 < len(paying) < len(several)
    assert not any(layer.blocks_pay(torch.bfloat16) for layer in several)
    with without_zeros():
        assert all(layer.blocks_pay(torch.bfloat16) for layer in several)


@pytest.mark.parametrize("autocast", [False, True])
def test_changed_weights_are_used(autocast: bool) -> None:
    compact = _network().compact()
    x = torch.randn(1, 1, 16, 16)

    def run() -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return compact(x).float()

    before = run()
    torch.testing.assert_close(run(), before, rtol=0, atol=0)
    state = {name: 1.5 * value for name, value in compact.state_dict().items()}
    compact.load_state_dict(state)
    changed = run()
    assert (changed - before).abs().max() > 1e-3
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):  # which keeps nothing
        fresh = compact(x).float()
    assert (changed - fresh).abs().max() <= (0.03 if autocast else 1e-5) * fresh.abs().max()
    assert compact.double()(x.double()).dtype == torch.float64


def test_one_input_channel_is_not_another_convolution() -> None:
    groups = TaskGroups.make(("a", "b"))
    for dims, size in ((2, (9, 8)), (3, (7, 6, 5))):
        layer = SharingConv(dims, 1, 6, KernelGroups(6, groups, GroupPolicy()), stride=2)
        x = torch.randn(2, 1, *size)
        plain = (torch.nn.functional.conv2d, torch.nn.functional.conv3d)[dims - 2]
        expected = plain(x, layer.weight, layer.bias, 2, 1)
        torch.testing.assert_close(layer.convolve(x, layer.weight, layer.bias), expected, rtol=1e-5, atol=1e-6)
        layer.convolve(x, layer.weight, layer.bias).square().sum().backward()
        found, layer.weight.grad = layer.weight.grad, None
        plain(x, layer.weight, layer.bias, 2, 1).square().sum().backward()
        torch.testing.assert_close(found, layer.weight.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_convolution_of_single_voxels_is_a_matrix_product(dims: int) -> None:
    groups = TaskGroups.make(("a", "b"))
    layer = SharingConv(dims, 5, 6, KernelGroups(6, groups, GroupPolicy()), kernel_size=1)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 5, *(7, 6, 5)[:dims]).contiguous(memory_format=CHANNELS_LAST[dims])
    plain = (torch.nn.functional.conv2d, torch.nn.functional.conv3d)[dims - 2]
    found = layer.convolve(x, layer.weight, layer.bias)
    torch.testing.assert_close(found, plain(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-6)
    assert found.is_contiguous(memory_format=CHANNELS_LAST[dims])
