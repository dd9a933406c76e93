# SPDX-License-Identifier: Apache-2.0
"""Multi-Task Attention Network (Liu et al., CVPR 2019) around any backbone."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, adaptive_max_pool3d, interpolate

from sfg_med.networks.blocks import BlockStyle, scale_weights
from sfg_med.networks.multitask import LOG_VARIANCE, MultiTaskNetwork
from sfg_med.sharing import Features

POOLS = {2: adaptive_max_pool2d, 3: adaptive_max_pool3d}
CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}


class AttentionNetwork(MultiTaskNetwork):
    """A shared trunk, and for each task soft attention on the features of every stage (MTAN; methods.md 5).

    A stage's first features and the task's features so far give a mask between 0 and 1 for the stage's last features;
    a 3x3 convolution of what it lets through goes on to the next stage, pooled or enlarged to its size.

    Args:
        trunk: a network with hard sharing.
    """

    def __init__(self, trunk: MultiTaskNetwork) -> None:
        super().__init__(trunk.tasks, trunk.style, variance=len(trunk.outputs) > len(trunk.tasks))
        self.trunk = trunk
        with torch.no_grad():
            widths = [(f.maps[0].shape[1], p.maps[0].shape[1]) for f, p in trunk.stages(trunk.example_input())]
        following = [last for _, last in widths[1:]] + [widths[-1][1]]
        style = trunk.style
        self.attention = nn.ModuleDict()
        for task in self.tasks:
            before = 0
            stages = nn.ModuleList()
            for (first, last), out in zip(widths, following, strict=True):
                stages.append(_Attention(style, first + before, last, out))
                before = out
            self.attention[task] = stages
        conv = CONVOLUTIONS[style.spatial_dims]
        self.heads = nn.ModuleDict({name: conv(widths[-1][1], n, 1) for name, n in self.outputs.items()})
        scale_weights(self.heads, style.head_scale)
        trunk.head = nn.Identity()  # the tasks are read from their own features

    def stages(self, image: Tensor) -> Iterator[tuple[Features, Features]]:
        """The trunk's."""
        return self.trunk.stages(image)

    @property
    def stage_modules(self) -> dict[str, tuple[str, ...]]:
        """The trunk's."""
        return {f"trunk.{k}": tuple(f"trunk.{m}" for m in v) for k, v in self.trunk.stage_modules.items()}

    def run(self, x: Tensor) -> Tensor:
        """``(B, in_channels, *spatial)`` to ``(B, sum of output channels, *spatial)``."""
        features: dict[str, Tensor] = {}
        for index, (first, last) in enumerate(self.trunk.stages(x)):
            for task in self.tasks:
                attention = self.attention[task][index]  # type: ignore[index]
                features[task] = attention(first.maps[0], last.maps[0], features.get(task))
        gathered = {task: self.trunk.gather(Features((f,))).maps[0] for task, f in features.items()}
        outputs = [self.heads[name](gathered[name.removesuffix(LOG_VARIANCE)]) for name in self.outputs]
        return self.trunk.finish(torch.cat(outputs, dim=1))

    def example_input(self) -> Tensor:
        """The trunk's."""
        return self.trunk.example_input()

    def compact(self, task: str | None = None) -> MultiTaskNetwork:
        """A copy: no kernel can be left out. With a task, the other tasks' attention goes.

        Raises:
            ValueError: for an unknown task.
        """
        if task is not None and task not in self.tasks:
            raise ValueError(f"unknown task {task!r}; the tasks are {', '.join(self.tasks)}")
        network = copy.deepcopy(self)
        for other in [t for t in self.tasks if task not in (None, t)]:
            del network.tasks[other], network.attention[other]
            for name in (other, f"{other}{LOG_VARIANCE}"):
                if name in network.outputs:
                    del network.outputs[name], network.heads[name]
        return network


class _Attention(nn.Module):
    """Attention of one task on one stage."""

    def __init__(self, style: BlockStyle, into: int, channels: int, out: int) -> None:
        super().__init__()
        conv = CONVOLUTIONS[style.spatial_dims]
        self.mask = nn.Sequential(
            conv(into, channels, 1, bias=False),
            style.make_norm(channels),
            nn.ReLU(),
            conv(channels, channels, 1, bias=False),
            style.make_norm(channels),
            nn.Sigmoid(),
        )
        self.after = nn.Sequential(
            conv(channels, out, 3, padding=1, bias=False), style.make_norm(out), style.make_act(out)
        )

    def forward(self, first: Tensor, last: Tensor, before: Tensor | None) -> Tensor:
        """Features that the task takes from this stage."""
        seen = first if before is None else torch.cat((first, _fit(before, first.shape[2:])), dim=1)
        out: Tensor = self.after(self.mask(seen) * last)
        return out


def _fit(x: Tensor, size: torch.Size) -> Tensor:
    """Pool or enlarge to a size."""
    if x.shape[2:] == size:
        return x
    if all(new <= old for new, old in zip(size, x.shape[2:], strict=True)):
        return POOLS[len(size)](x, size)
    return interpolate(x, size=tuple(size), mode=("bilinear", "trilinear")[len(size) - 2], align_corners=False)
