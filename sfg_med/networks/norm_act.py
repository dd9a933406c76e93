# SPDX-License-Identifier: Apache-2.0
"""Instance norm and leaky ReLU in one go over a channels-last tensor, for the CPU.

The two together cost more than the convolution before them where torch runs one after the other: each reads and writes
the whole tensor several times, and their half-precision kernels are slow (docs/explanation/speed.md). Here the tensor
is walked through in pieces that stay in the processor's cache, in single precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm, instance_norm, leaky_relu, leaky_relu_

from sfg_med.sharing.convolution import CHANNELS_LAST

# Numbers in a piece: 256 KiB in single precision, which leaves a core's second-level cache room for the results.
PIECE = 2**16


def instance_norm_act(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float, *, overwrite: bool = False
) -> Tensor:
    """``leaky_relu(instance_norm(x))``.

    Args:
        x: ``(B, C, *spatial)``.
        weight: ``(C,)`` scales.
        bias: ``(C,)`` shifts.
        eps: added to the variance.
        slope: of the activation below zero.
        overwrite: nobody else needs ``x``: without gradients, the result takes its place.

    Returns:
        ``(B, C, *spatial)`` in the layout of ``x``.
    """
    last = x.is_contiguous(memory_format=CHANNELS_LAST[x.dim() - 2]) and not x.is_contiguous()
    # A recorded program (torch.export, TorchScript) gets torch's own operations, which its reader knows.
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
    if x.device.type != "cpu" or not last or recorded:
        return leaky_relu(instance_norm(x, weight=weight, bias=bias, eps=eps), slope)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad):
        if x.dtype.itemsize < 4:
            return _by_torch(x, weight, bias, eps, slope)
        return _InstanceNormAct.apply(x, weight, bias, eps, slope)
    y = x if overwrite else torch.empty_like(x)
    for source, target in zip(_samples(x), _samples(y), strict=True):
        mean, rstd = _statistics(source, eps)
        _normalise(source, target, weight * rstd, bias - mean * weight * rstd, slope)
    return y


def _by_torch(x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
    """With a gradient, in half precision: there torch's kernels are as quick, and its sums are exact enough."""
    # The batch norm of a single sample is its instance norm, and stays in the layout.
    norms = [batch_norm(s, None, None, weight, bias, True, 0.0, eps) for s in x.split(1)]
    acts = [leaky_relu_(s, slope) for s in norms]
    return acts[0] if len(acts) == 1 else torch.cat(acts)


class _InstanceNormAct(torch.autograd.Function):
    """The same with a gradient; keeps the input only, where norm and activation apart keep two tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, slope: float) -> Tensor:
        y = torch.empty_like(x)
        statistics = []
        for source, target in zip(_samples(x), _samples(y), strict=True):
            mean, rstd = _statistics(source, eps)
            _normalise(source, target, weight * rstd, bias - mean * weight * rstd, slope)
            statistics.append(torch.stack((mean, rstd)))
        ctx.save_for_backward(x, weight, bias, torch.stack(statistics))
        ctx.slope = slope
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, statistics = ctx.saved_tensors
        grad = grad.contiguous(memory_format=CHANNELS_LAST[x.dim() - 2])
        out = torch.empty_like(x)
        to_weight, to_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for source, arriving, target, (mean, rstd) in zip(
            _samples(x), _samples(grad), _samples(out), statistics, strict=True
        ):
            scale = weight * rstd
            shift = bias - mean * scale
            sums, products = torch.zeros_like(weight), torch.zeros_like(weight)
            for s, a, t in _pieces(source, arriving, target):
                values = s.to(weight.dtype)
                passed = _before_activation(torch.addcmul(shift, values, scale), a, ctx.slope)
                t.copy_(passed)
                sums += passed.sum(0)
                products += passed.mul_(_mine(values, s).sub_(mean)).sum(0)
            products *= rstd
            to_bias += sums
            to_weight += products
            # d/dx of the norm: scale * (g - mean(g) - normalised * mean(g * normalised))
            slope_of_x = -products * rstd * scale / len(source)
            constant = -sums * scale / len(source) - mean * slope_of_x
            for s, t in _pieces(source, target):
                values = torch.addcmul(constant, s.to(weight.dtype), slope_of_x)
                t.copy_(values.addcmul_(t.to(weight.dtype), scale))
        return out, to_weight, to_bias, None, None


def _before_activation(z: Tensor, grad: Tensor, slope: float) -> Tensor:
    """Gradient that arrives at z through the leaky ReLU."""
    return torch.ops.aten.leaky_relu_backward(grad.to(z.dtype), z, slope, False)


def _samples(x: Tensor) -> Tensor:
    """``(B, voxels, C)`` view of a channels-last tensor."""
    return x.movedim(1, -1).flatten(1, -2)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same voxels of ``(voxels, C)`` tensors, some at a time."""
    rows = max(1, PIECE // tensors[0].shape[1])
    return zip(*(t.split(rows) for t in tensors), strict=True)


def _statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``(C,)`` mean and reciprocal standard deviation of ``(voxels, C)``, in single precision at least.

    Each piece's variance is taken about its own mean and the pieces are joined by the rule of Chan et al. (1983): sums
    of squares about zero would lose the variance of channels that are far from it.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    counts, means, squares = [], [], []
    for (piece,) in _pieces(x):
        values = piece.to(dtype)
        mean = values.mean(0)
        counts.append(len(piece))
        means.append(mean)
        squares.append(_mine(values, piece).sub_(mean).square_().sum(0))
    each, n = torch.stack(means).double(), torch.tensor(counts, dtype=torch.float64)[:, None]
    mean = (each * n).sum(0) / len(x)
    variance = (torch.stack(squares).double().sum(0) + (n * (each - mean).square()).sum(0)) / len(x)
    return mean.to(dtype), (variance + eps).rsqrt().to(dtype)


def _mine(values: Tensor, source: Tensor) -> Tensor:
    """Values that may be changed without changing their source."""
    return values.clone() if values is source else values


def _normalise(source: Tensor, target: Tensor, scale: Tensor, shift: Tensor, slope: float) -> None:
    for s, t in _pieces(source, target):
        t.copy_(leaky_relu_(torch.addcmul(shift, s.to(scale.dtype), scale), slope))
