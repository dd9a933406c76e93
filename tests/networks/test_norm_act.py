# SPDX-License-Identifier: Apache-2.0
"""Norm and activation in one go are torch's norm and activation one after the other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import instance_norm, leaky_relu

from sfg_med.networks.blocks import norm_then_act
from sfg_med.networks.norm_act import PIECE, instance_norm_act
from sfg_med.networks.norms import InstanceNorm
from sfg_med.sharing.convolution import CHANNELS_LAST

EPS, SLOPE = 1e-5, 0.01


def _made(shape: tuple[int, ...], offset: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    x = (torch.randn(shape) + offset).contiguous(memory_format=CHANNELS_LAST[len(shape) - 2])
    return x, torch.rand(shape[1]) + 0.5, torch.randn(shape[1])


def _oracle(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """In double precision, by torch."""
    y = instance_norm(x.double(), weight=weight.double(), bias=bias.double(), eps=EPS)
    return leaky_relu(y, SLOPE)


@given(
    st.integers(1, 3), st.integers(1, 40), st.lists(st.integers(1, 9), min_size=2, max_size=3), st.floats(-30.0, 30.0)
)
def test_values_are_those_of_torch(batch: int, channels: int, size: list[int], offset: float) -> None:
    size[0] += 1  # torch refuses the norm of a single voxel
    x, weight, bias = _made((batch, channels, *size), offset)
    expected = _oracle(x, weight, bias)
    kept = x.clone(memory_format=torch.preserve_format)
    with torch.no_grad():
        apart = instance_norm_act(x, weight, bias, EPS, SLOPE)
        torch.testing.assert_close(x, kept, rtol=0, atol=0)
        overwritten = instance_norm_act(x, weight, bias, EPS, SLOPE, overwrite=True)
    # single precision has 1e-7 of the offset, and few voxels may vary little
    tolerance = 2e-5 * (1 + abs(offset) / float(x.double().flatten(2).std(-1, correction=0).clamp_min(1e-3).min()))
    torch.testing.assert_close(apart.double(), expected, rtol=0, atol=max(tolerance, 1e-5) * 4)
    torch.testing.assert_close(apart, overwritten, rtol=0, atol=0)


def test_large_volumes_are_joined_from_pieces() -> None:
    x, weight, bias = _made((2, 24, 40, 30, 20), 5.0)
    x[:, :, :20] *= 3  # no two pieces alike
    assert x[0].numel() > 5 * PIECE
    with torch.no_grad():
        found = instance_norm_act(x, weight, bias, EPS, SLOPE)
    torch.testing.assert_close(found.double(), _oracle(x, weight, bias), rtol=1e-5, atol=1e-5)
    assert found.stride() == x.stride()


@pytest.mark.parametrize("shape", [(2, 5, 40, 70, 30), (1, 3, 7, 5)])
def test_gradients_are_those_of_torch(shape: tuple[int, ...]) -> None:
    x, weight, bias = _made(shape, 1.0)
    arriving = torch.randn(shape)
    inputs = [t.double().requires_grad_() for t in (x, weight, bias)]
    y = _oracle(*inputs)
    y.backward(arriving.double())
    own = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in (x, weight, bias)]
    instance_norm_act(*own, EPS, SLOPE).backward(arriving)
    # at the kink rounding decides between two slopes
    away = y.abs() > 1e-5
    torch.testing.assert_close(own[0].grad.double()[away], inputs[0].grad[away], rtol=1e-4, atol=1e-4)
    for mine, expected in zip(own[1:], inputs[1:], strict=True):
        torch.testing.assert_close(mine.grad.double(), expected.grad, rtol=1e-4, atol=1e-3)


def test_half_precision_loses_its_own_rounding_only() -> None:
    x, weight, bias = _made((1, 16, 20, 20, 20))
    x = x.bfloat16()
    with torch.no_grad():
        found = instance_norm_act(x, weight, bias, EPS, SLOPE)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), _oracle(x, weight, bias), rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("act", [nn.LeakyReLU(0.2), nn.ReLU(), nn.PReLU()])
def test_blocks_take_any_activation(act: nn.Module) -> None:
    norm = InstanceNorm(6)
    x, norm.weight.data, norm.bias.data = _made((2, 6, 5, 4, 3))
    expected = act(instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps))
    torch.testing.assert_close(norm_then_act(norm, act, x), expected, rtol=1e-4, atol=1e-5)


def test_programs_hold_operations_that_other_readers_know() -> None:
    norm = InstanceNorm(4)
    x = _made((1, 4, 6, 5, 4))[0]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Tensor) -> Tensor:
            return norm_then_act(self.norm, nn.LeakyReLU(SLOPE), x, overwrite=True)

    program = torch.export.export(Block(), (x,))
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert any("instance_norm" in name for name in names)
    assert len(names) < 6
