# SPDX-License-Identifier: Apache-2.0
"""Group shares by depth: columns from the first layer to the last, as the paper draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from sfg_med.report import charts
from sfg_med.report.sharing_files import Floats

SMALLEST_NUMBER = 0.07
"""Share of a column from which its number fits into it."""


def share_columns(names: Sequence[str], values: Floats, overall: Floats, groups: Sequence[str]) -> str:
    """Draw the share of each group in each layer, task 1 at the bottom, as SVG.

    Args:
        names: of the L layers in forward order, ``"block, layer"`` or ``"layer"``.
        values: ``(L, G)``, rows sum to 1.
        overall: ``(G,)`` of all kernels.
        groups: names of the groups.
    """
    places = np.array([*range(len(names)), len(names) + 0.6])
    inches = max(6.0, 2.2 + 0.42 * len(places))
    with charts.drawing(inches, 4.3, "final group shares") as (figure, result):
        axes = figure.add_subplot()
        draw_columns(axes, places, np.vstack([values, overall[None]]), groups)
        _label_layers(axes, names)
        axes.text(places[-1], -0.03, "all", ha="center", va="top", transform=axes.get_xaxis_transform(), fontsize=9.5)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=charts.legend_columns(groups, inches))
    return result[0]


def share_panels(panels: Mapping[str, Floats], names: Sequence[str], groups: Sequence[str]) -> str:
    """Draw the groups by depth of several networks with the same layers below each other, as SVG.

    Args:
        panels: title to ``(L, G)`` shares.
        names: of the L layers.
        groups: names of the groups.
    """
    inches = max(6.0, 2.2 + 0.34 * len(names))
    with charts.drawing(inches, 1.3 + 1.35 * len(panels), "groups by depth, side by side") as (figure, result):
        grid = figure.subplots(len(panels), 1, squeeze=False).ravel()
        for axes, (title, values) in zip(grid, panels.items(), strict=True):
            draw_columns(axes, np.arange(len(names), dtype=float), values, groups, numbers=False)
            axes.set_ylabel("")
            axes.set_title(title, loc="left", fontsize=10.5)
        _label_layers(grid[-1], names, lower=0.12)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=charts.legend_columns(groups, inches))
    return result[0]


def draw_columns(axes: Axes, places: Floats, values: Floats, groups: Sequence[str], *, numbers: bool = True) -> None:
    """Stack the shares ``(L, G)`` at horizontal ``places`` in the groups' colours, numbers in percent."""
    bottom = np.zeros(len(values))
    for share, group, colour in zip(values.T, groups, charts.group_colours(groups), strict=True):
        axes.bar(places, share, 0.84, bottom=bottom, color=colour, label=group)
        for place, start, height in zip(places, bottom, share, strict=True):
            if numbers and height >= SMALLEST_NUMBER:
                text = f"{100 * height:.0f}"
                axes.text(place, start + height / 2, text, ha="center", va="center", color=ink_on(colour), fontsize=9)
        bottom += share
    axes.set(ylim=(0, 1), ylabel="share of the layer's kernels", xlim=(places[0] - 0.6, places[-1] + 0.6))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.grid(visible=False, axis="x")
    axes.set_xticks([])


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour (relative luminance of WCAG)."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot(channels, (0.2126, 0.7152, 0.0722)))
    return "#ffffff" if luminance < 0.179 else "#000000"


def _label_layers(axes: Axes, names: Sequence[str], lower: float = 0.0) -> None:
    """Name each column, and ``lower`` than usual each block of columns with a rule; long names stand upright."""
    pairs = [name.rpartition(", ")[::2] for name in names]
    transform = axes.get_xaxis_transform()
    if not all(block for block, _ in pairs):
        for place, name in enumerate(names):
            axes.text(place, -0.03, name, rotation=90, ha="center", va="top", transform=transform, fontsize=9)
        return
    for place, (_, layer) in enumerate(pairs):
        short = layer.removeprefix("conv ").replace("reduce", "r")
        axes.text(place, -0.03, short, ha="center", va="top", transform=transform, fontsize=9)
    for block, members in groupby(range(len(names)), key=lambda i: pairs[i][0]):
        where = list(members)
        ends = (where[0] - 0.38, where[-1] + 0.38)
        axes.plot(ends, (-0.1 - lower,) * 2, color=charts.INK, linewidth=0.9, clip_on=False, transform=transform)
        axes.text(sum(ends) / 2, -0.125 - 1.3 * lower, block, ha="center", va="top", transform=transform, fontsize=9.5)
