# SPDX-License-Identifier: Apache-2.0
"""From hard groups to a plain network: kernels sorted by group, only the blocks of W_eff that are not zero are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sfg_med.sharing.convolution import CHANNELS_LAST, SLOPE, SharingConv
from sfg_med.sharing.counting import zeros_allowed
from sfg_med.sharing.features import Features
from sfg_med.sharing.groups import TaskGroups
from sfg_med.sharing.kernel_groups import IDLE, InheritedGroups, KernelGroups
from sfg_med.sharing.sampling import GroupPolicy

Read = tuple[slice, ...]
Block = tuple[Read, Tensor, Tensor | None]


# What a convolution in single precision costs, in multiplications for each voxel and element of the kernel, fitted to
# the layers of docs/explanation/speed.md: channels and kernels count in multiples of LANES, reading a channel costs as
# much as READ kernels, and copying a value as much as COPY multiplications.
LANES, READ, COPY = 16, 9, 60


class CompactConv(nn.Module):
    """A block-triangular convolution: each group of kernels reads only the channels that it may read.

    Args:
        layer: the convolution to compact.
        groups: for each block, index of its group.
        kernels: for each block, indices of the kernels of ``layer``, in output order.
        inputs: for each block, pairs of (position in the new input, channel of the old input) that it reads.
        in_channels: channels of the new input.
    """

    assignment: Tensor

    def __init__(
        self,
        layer: SharingConv,
        groups: list[int],
        kernels: list[Tensor],
        inputs: list[tuple[Tensor, Tensor]],
        in_channels: int,
    ) -> None:
        super().__init__()
        # Groups are named for layers that could have learned them; a head's or an inherited group is no choice.
        self.chosen = layer.kernel_groups.distribution is not None
        assignment = torch.cat([torch.full((len(k),), g) for g, k in zip(groups, kernels, strict=True)])
        self.register_buffer("assignment", assignment, persistent=False)
        self.weights = nn.ParameterList()
        self.reads: list[Read] = []
        for rows, (new, old) in zip(kernels, inputs, strict=True):
            weight = layer.weight.detach()[rows]
            if old.numel():
                weight = weight[:, old]
            else:  # a group that may read nothing here computes its bias: one channel, whose weight zero is not trained
                new, weight = torch.zeros(1, dtype=torch.long), torch.zeros_like(weight[:, :1])
            self.reads.append(_as_slices(new))
            layout = CHANNELS_LAST[layer.spatial_dims]
            weight = weight.contiguous(memory_format=layout).clone()
            self.weights.append(nn.Parameter(weight, requires_grad=bool(old.numel())))
        self.biases: nn.ParameterList | list[None] = [None] * len(kernels)
        if layer.bias is not None:
            self.biases = nn.ParameterList(nn.Parameter(layer.bias.detach()[rows].clone()) for rows in kernels)
        self.convolve = _Convolve(layer)
        self.in_channels = in_channels
        self._kept: tuple[Any, list[Block]] | None = None

    def blocks_pay(self, dtype: torch.dtype) -> bool:
        """Whether a convolution for each block is quicker than a single one with zeros between the blocks.

        A rule and no measurement, so that every machine computes the same. In half precision the answer is no: matrix
        units are done with the zeros before the blocks' channels are read (docs/explanation/speed.md).

        Args:
            dtype: number format of the convolution.
        """
        if not zeros_allowed() or len(self.weights) == 1:
            return True
        if dtype.itemsize < 4:
            return False
        kernels, volume = len(self.assignment), self.weights[0][0, 0].numel()
        sizes = [(w.shape[0], w.shape[1]) for w in self.weights]
        copied = kernels + sum(channels for _, channels in sizes if channels < self.in_channels)
        blocks = volume * sum(_cost(*size) for size in sizes) + COPY * copied
        return blocks < volume * _cost(kernels, self.in_channels)

    def dense_weight(self) -> Tensor:
        """``(K, C, *kernel)``: the blocks, and zeros between them."""
        return torch.cat([_widen(w, r, self.in_channels) for w, r in zip(self.weights, self.reads, strict=True)])

    def expand(self, groups: TaskGroups, policy: GroupPolicy) -> SharingConv:
        """The same layer as a dense convolution of fixed groups, from which one task can be taken."""
        weight, (bias, *_) = self.dense_weight().detach(), self.biases
        size, rule = weight.shape, self.convolve
        fixed = KernelGroups(size[0], groups, policy, fixed=self.assignment)
        options: dict[str, Any] = {"kernel_size": size[2:], "stride": rule.stride, "dilation": rule.dilation}
        layer = SharingConv(rule.spatial_dims, size[1], size[0], fixed, bias=bias is not None, **options)
        with torch.no_grad():
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(torch.cat([b for b in self.biases if b is not None]))
        return layer.to(weight)

    def reset_parameters(self) -> None:
        """New weights for training from scratch, each block as a layer of its own."""
        for weight in self.weights:
            if weight.requires_grad:  # a block that may read nothing stays zero
                nn.init.kaiming_normal_(weight, a=SLOPE)

    def forward(self, features: Features) -> Features:
        """``(B, C, *spatial)`` to ``(B, K, *spatial / stride)``, kernels in group order."""
        (x,) = features.maps
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        done = [self.convolve(_select(x, read), weight, bias) for read, weight, bias in self._blocks(dtype)]
        return Features((done[0] if len(done) == 1 else torch.cat(done, dim=1),))

    def _blocks(self, dtype: torch.dtype) -> list[Block]:
        """What is read, weights and bias of each convolution to run; kept from call to call while nothing changes."""
        parameters = list(self.parameters())
        recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if torch.is_grad_enabled() or recorded or any(p.is_inference() for p in parameters):
            return self._make_blocks(dtype)
        state = (dtype, zeros_allowed(), [(p.data_ptr(), p._version) for p in parameters])
        if self._kept is None or self._kept[0] != state:
            blocks = self._make_blocks(dtype)
            layout = CHANNELS_LAST[self.convolve.spatial_dims]
            ready = [(r, w.to(dtype, memory_format=layout), None if b is None else b.to(dtype)) for r, w, b in blocks]
            self._kept = (state, ready)
        return self._kept[1]

    def _make_blocks(self, dtype: torch.dtype) -> list[Block]:
        if self.blocks_pay(dtype):
            return list(zip(self.reads, self.weights, self.biases, strict=True))
        biases = [b for b in self.biases if b is not None]
        return [((slice(0, self.in_channels),), self.dense_weight(), torch.cat(biases) if biases else None)]


class _Convolve:
    """A layer's plain convolution without the layer's weights (its class, strides and padding only)."""

    def __init__(self, layer: SharingConv) -> None:
        self.spatial_dims, self.stride = layer.spatial_dims, layer.stride
        self.padding, self.dilation = layer.padding, layer.dilation

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return SharingConv.convolve(self, x, weight, bias)  # type: ignore[arg-type]


def _padded(channels: int) -> int:
    return -(-channels // LANES) * LANES


def _cost(kernels: int, channels: int) -> int:
    return _padded(channels) * (_padded(kernels) + READ)


def _as_slices(index: Tensor) -> Read:
    """Rising indices as runs; picking them one by one takes ten times as long."""
    ends = (index.diff() != 1).nonzero().flatten() + 1
    return tuple(slice(int(run[0]), int(run[-1]) + 1) for run in index.tensor_split(ends.tolist()))


def _widen(weight: Tensor, read: Read, channels: int) -> Tensor:
    """A block's weights among zeros for the channels that it does not read."""
    spatial = [0, 0] * (weight.dim() - 2)
    ends = [*(s.start for s in read[1:]), channels]
    parts = weight.split([s.stop - s.start for s in read], dim=1)
    padded = [pad(p, [*spatial, 0, end - s.stop]) for p, s, end in zip(parts, read, ends, strict=True)]
    return pad(torch.cat(padded, 1), [*spatial, read[0].start, 0])


def _select(x: Tensor, read: Read) -> Tensor:
    parts = [x[:, s] for s in read]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def trace_inputs(network: nn.Module, run: Callable[[], Any]) -> dict[str, Tensor]:
    """Find where the input channels of every sharing convolution come from, by running the network once.

    Args:
        network: a network of sharing convolutions.
        run: calls the network on any input.

    Returns:
        For each layer ``(C, 2)`` long: index of the producing layer in the order of ``named_modules`` and its kernel;
        an empty tensor for layers that read the image.
    """
    layers = {name: m for name, m in network.named_modules() if isinstance(m, SharingConv)}
    sources: dict[str, Tensor] = {}
    hooks = []
    for index, (name, layer) in enumerate(layers.items()):
        origin = torch.tensor([[index, k] for k in range(layer.weight.shape[0])])

        # The origins ride in the place of the memberships, which a decided network does not need to know its wiring.
        def before(_: nn.Module, args: tuple[Features], name: str = name) -> tuple[Features]:
            origins = args[0].membership
            sources[name] = torch.empty(0, 2, dtype=torch.long) if origins is None else origins
            return (Features(args[0].maps),)

        def after(_: nn.Module, __: object, out: Features, origin: Tensor = origin) -> Features:
            return Features(out.maps, origin)

        hooks += [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return sources


def compact_convolutions(
    network: nn.Module, run: Callable[[], Any], groups: TaskGroups, task: str | None
) -> dict[str, tuple[CompactConv, Tensor]]:
    """Compact every sharing convolution of a network.

    Args:
        network: the network; each kernel counts as in its likeliest (or fixed) group.
        run: calls the network on any input.
        groups: its groups.
        task: keep only the kernels that serve this task; ``None`` keeps all.

    Returns:
        For each layer its compact convolution and the kept kernels in their new order.
    """
    layers = {name: m for name, m in network.named_modules() if isinstance(m, SharingConv)}
    sources = trace_inputs(network, run)
    chosen = decide_groups(layers, sources)
    wanted = torch.ones(len(groups), dtype=torch.bool) if task is None else groups.holds[groups.tasks.index(task)]
    orders = [_order(assignment, wanted) for assignment in chosen]
    result = {}
    for (name, layer), assignment, order in zip(layers.items(), chosen, orders, strict=True):
        new_input = _new_input(sources[name], orders, layer.weight.shape[1])
        blocks = [order[assignment[order] == g] for g in range(len(groups))]
        present = [(g, rows) for g, rows in enumerate(blocks) if rows.numel()]
        inputs = []
        for g, _ in present:
            if sources[name].numel():
                origin = sources[name][new_input]
                producer = torch.stack([chosen[i][k] for i, k in origin.tolist()])
                readable = groups.reads[g][producer] & wanted[producer]
            else:
                readable = torch.ones(len(new_input), dtype=torch.bool)
            positions = readable.nonzero().flatten()
            inputs.append((positions, new_input[positions]))
        indices, rows = [g for g, _ in present], [r for _, r in present]
        result[name] = (CompactConv(layer, indices, rows, inputs, len(new_input)), order)
    return result


def decide_groups(layers: Mapping[str, SharingConv], sources: Mapping[str, Tensor]) -> list[Tensor]:
    """Group of each kernel of each layer; kernels that inherit their groups take those of their inputs."""
    chosen: list[Tensor] = []
    for name, layer in layers.items():
        if isinstance(layer.kernel_groups, InheritedGroups):
            chosen.append(torch.stack([chosen[i][k] for i, k in sources[name].tolist()]))
        else:
            chosen.append(layer.kernel_groups.decided().cpu())
    return chosen


def _order(assignment: Tensor, wanted: Tensor) -> Tensor:
    order = torch.argsort(assignment, stable=True)
    order = order[assignment[order] != IDLE]
    kept = order[wanted[assignment[order]]]
    # A layer without any kernel for the task still needs a feature map; nobody reads its channel.
    return kept if kept.numel() else order[:1]


def _new_input(origins: Tensor, orders: list[Tensor], channels: int) -> Tensor:
    """Old input channel at each position of the new input."""
    if not origins.numel():
        return torch.arange(channels)
    positions = {tuple(pair): i for i, pair in enumerate(origins.tolist())}
    layers = list(dict.fromkeys(origins[:, 0].tolist()))  # in the order of concatenation
    return torch.tensor([positions[(layer, k)] for layer in layers for k in orders[layer].tolist()])
