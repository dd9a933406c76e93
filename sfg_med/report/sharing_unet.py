# SPDX-License-Identifier: Apache-2.0
"""The U-Net drawn as a U, every convolution a box that is split into its groups."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from sfg_med.report import charts
from sfg_med.report.sharing_files import Floats
from sfg_med.report.sharing_shares import ink_on

_NAME = re.compile(r"(down|up) (\d+), (?:conv (\d+)|(reduce))$")
BOX, REDUCE, GAP, ROW, HEIGHT = 0.86, 0.56, 0.55, 1.95, 1.3
SMALLEST_SHARE = 0.17
"""Of a box, from which its number fits into it."""

MUTED = "#7d8791"


@dataclass
class Block:
    """Layers of one resolution level on one side of the U: index of each layer, and where the block stands."""

    level: int
    layers: list[int] = field(default_factory=list)
    reduce: int | None = None
    x: float = 0.0

    @property
    def width(self) -> float:
        """Of its convolutions."""
        return BOX * len(self.layers)

    @property
    def y(self) -> float:
        """Of the lower edge."""
        return -ROW * self.level


def u_blocks(names: Sequence[str]) -> tuple[list[Block], list[Block]] | None:
    """Encoder blocks from the top down and decoder blocks from the bottom up, or None if it is no U-Net.

    Args:
        names: readable names of the layers, such as ``"down 1, conv 2"``.
    """
    matches = [_NAME.match(name) for name in names]
    if not names or not all(matches):
        return None
    down: dict[int, Block] = {}
    up: dict[int, Block] = {}
    depth = max(int(m[2]) for m in matches if m and m[1] == "down")
    for index, match in enumerate(m for m in matches if m):
        number = int(match[2])
        # "up 1" is the first block of the decoder: one level above the bottom
        level = number - 1 if match[1] == "down" else depth - 1 - number
        block = (down if match[1] == "down" else up).setdefault(number, Block(level))
        if match[4]:
            block.reduce = index
        else:
            block.layers.append(index)
    encoder, decoder = [down[i] for i in sorted(down)], [up[i] for i in sorted(up)]
    complete = len(encoder) == depth and [b.level for b in decoder] == list(range(depth - 2, -1, -1))
    return (encoder, decoder) if complete and all(b.layers for b in (*encoder, *decoder)) else None


def u_figure(
    names: Sequence[str],
    values: Floats,
    kernels: Sequence[int],
    groups: Sequence[str],
    *,
    levels: Sequence[str] = (),
    outputs: Mapping[str, str] | None = None,
    source: str = "image",
) -> str | None:
    """Draw encoder and decoder as the U, or return None for a network of another shape.

    Args:
        names: readable names of the L layers.
        values: ``(L, G)`` shares.
        kernels: number of kernels of each layer, or nothing where it is not known.
        groups: names of the groups.
        levels: what to write beside each resolution level, such as ``"3 mm"``.
        outputs: task to the group that its head belongs to.
        source: what goes in.
    """
    blocks = u_blocks(names)
    if blocks is None:
        return None
    encoder, decoder = blocks
    _place(encoder, decoder)
    right = decoder[-1].x + decoder[-1].width if decoder else encoder[-1].x + encoder[-1].width
    margin = _margin(levels)
    width, height = right + margin + 1.6, ROW * len(encoder) + 0.35
    with charts.drawing(0.62 * width, 0.62 * height + 0.45, "shares along encoder and decoder") as (figure, result):
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set(aspect="equal", xlim=(-margin, right + 1.6), ylim=(encoder[-1].y - 0.35, HEIGHT + 0.4))
        colours = charts.group_colours(groups)
        for block in (*encoder, *decoder):
            for number, layer in enumerate(block.layers):
                _box(axes, block.x + number * BOX, block.y, BOX, values[layer], colours)
            _frame(axes, block.x, block.y, block.width)
            _caption(axes, block, kernels)
        _wires(axes, encoder, decoder, values, colours)
        _ends(axes, encoder, decoder, levels, dict(outputs or {}), dict(zip(groups, colours, strict=True)), source)
        handles = [
            Rectangle((0, 0), 1, 1, color=colour, label=group) for group, colour in zip(groups, colours, strict=True)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=charts.legend_columns(groups, 0.62 * width))
    return result[0]


def _margin(levels: Sequence[str]) -> float:
    """Room left of the first block for the names of the levels and of the input."""
    return 1.35 + 0.15 * max([7, *map(len, levels)])


def _place(encoder: list[Block], decoder: list[Block]) -> None:
    """Each block of the encoder stands right below its arrow; a decoder's block stands on its reduction."""
    for above, below in itertools.pairwise(encoder):
        below.x = above.x + above.width - BOX / 2 + 0.25
    former = encoder[-1]
    for block in decoder:
        block.x = former.x + former.width + GAP + 0.1
        former = block


def _box(axes: Axes, x: float, y: float, width: float, shares: Floats, colours: Sequence[str]) -> None:
    bottom = y
    for share, colour in zip(shares, colours, strict=True):
        axes.add_patch(Rectangle((x, bottom), width, share * HEIGHT, facecolor=colour, edgecolor="none"))
        if share >= SMALLEST_SHARE:
            middle = (x + width / 2, bottom + share * HEIGHT / 2)
            axes.text(*middle, f"{100 * share:.0f}", ha="center", va="center", color=ink_on(colour), fontsize=9)
        bottom += share * HEIGHT


def _frame(axes: Axes, x: float, y: float, width: float) -> None:
    axes.add_patch(Rectangle((x, y), width, HEIGHT, fill=False, edgecolor=charts.INK, linewidth=1.0))
    for number in range(1, round(width / BOX)):
        axes.plot([x + number * BOX] * 2, [y, y + HEIGHT], color=charts.INK, linewidth=0.6)


def _caption(axes: Axes, block: Block, kernels: Sequence[int]) -> None:
    if not len(kernels):
        return
    counts = sorted({int(kernels[i]) for i in block.layers})
    text = f"{len(block.layers)} x {counts[0]} kernels" if len(counts) == 1 else f"{sum(counts)} kernels"
    axes.text(block.x + block.width / 2, block.y + HEIGHT + 0.07, text, ha="center", va="bottom", fontsize=9.5)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], *, dashed: bool = False) -> None:
    style = (0, (4, 2)) if dashed else "-"
    arrow = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        mutation_scale=9,
        color=MUTED,
        linewidth=1.3,
        linestyle=style,
        shrinkA=0,
        shrinkB=0,
    )
    axes.add_patch(arrow)


def _wires(axes: Axes, encoder: list[Block], decoder: list[Block], values: Floats, colours: Sequence[str]) -> None:
    """Down-sampling, skip connections, and the reductions with the arrows up."""
    for above, below in itertools.pairwise(encoder):
        x = above.x + above.width - 0.02
        middle = below.y + HEIGHT / 2
        axes.plot([x - BOX / 2 + 0.05] * 2, [above.y, middle], color=MUTED, linewidth=1.3)
        _arrow(axes, (x - BOX / 2 + 0.05, middle), (below.x, middle))
    former = encoder[-1]
    for block in decoder:
        if block.reduce is not None:
            x = former.x + former.width + GAP / 2
            _box(axes, x, former.y, REDUCE, values[block.reduce], colours)
            axes.add_patch(Rectangle((x, former.y), REDUCE, HEIGHT, fill=False, edgecolor=charts.INK, linewidth=0.8))
            axes.text(x + REDUCE / 2, former.y - 0.08, "1x1", ha="center", va="top", fontsize=9)
            axes.plot([x - GAP / 2, x], [former.y + HEIGHT / 2] * 2, color=MUTED, linewidth=1.3)
        x = former.x + former.width + GAP / 2 + REDUCE / 2
        _arrow(axes, (x, former.y + HEIGHT), (x, block.y))
        former = block
    skips = {block.level: block for block in encoder[:-1]}
    for block in decoder:
        start = skips[block.level]
        middle = block.y + HEIGHT / 2
        _arrow(axes, (start.x + start.width, middle), (block.x, middle), dashed=True)


def _ends(
    axes: Axes,
    encoder: list[Block],
    decoder: list[Block],
    levels: Sequence[str],
    outputs: dict[str, str],
    colour_of: dict[str, str],
    source: str,
) -> None:
    """What goes in, what comes out, and the resolution of each level at the left margin."""
    for block, text in zip(encoder, levels, strict=False):
        axes.text(
            0.1 - _margin(levels), block.y + HEIGHT / 2, f"level {block.level + 1}\n{text}", va="center", fontsize=10
        )
        if block.level:
            axes.plot([-1.15, block.x - 0.12], [block.y + HEIGHT / 2] * 2, color=charts.RULE, linewidth=0.7, zorder=0)
    first, last = encoder[0], (decoder or encoder)[-1]
    _arrow(axes, (-0.55, first.y + HEIGHT / 2), (0, first.y + HEIGHT / 2))
    axes.text(-0.6, first.y + HEIGHT / 2, source, ha="right", va="center", fontsize=10)
    heights = np.linspace(0, HEIGHT, 2 * len(outputs) + 1)[1::2]
    for height, (task, group) in zip(heights, outputs.items(), strict=True):
        x, y = last.x + last.width, last.y + float(height)
        _arrow(axes, (x, y), (x + 0.45, y))
        axes.add_patch(Rectangle((x + 0.48, y - 0.09), 0.18, 0.18, color=colour_of.get(group, MUTED)))
        axes.text(x + 0.74, y, task, va="center", fontsize=10)
