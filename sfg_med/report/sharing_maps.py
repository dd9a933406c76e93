# SPDX-License-Identifier: Apache-2.0
"""Maps that serve any number of groups: entropy over training by layer, and p kernel by kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from sfg_med.report import charts
from sfg_med.report.sharing_files import Floats, Trajectories

ACROSS = 6


def entropy_map(record: Trajectories) -> str:
    """Draw the mean entropy of p, layers downwards and steps to the right, as SVG."""
    values = record.entropies()
    most = float(np.log(len(record.groups)))
    with charts.drawing(9.4, 1.5 + 0.2 * len(record.names), "entropy over training") as (figure, result):
        axes = figure.add_subplot()
        edges = charts.edges(record.steps.tolist())
        rows = np.arange(len(record.names) + 1) - 0.5
        picture = axes.pcolormesh(edges, rows, values.T, vmin=0, vmax=most, cmap="viridis", rasterized=True)
        axes.set_yticks(range(len(record.names)), record.names, fontsize=9)
        axes.invert_yaxis()
        axes.grid(visible=False)
        if record.frozen:
            axes.axvline(float(edges[record.learned + 1]), color="white", linestyle=":", linewidth=1.4)
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        label = "mean entropy (nats)"
        figure.colorbar(picture, ax=axes, label=label, aspect=30).outline.set_visible(False)
    return result[0]


def kernel_maps(names: Sequence[str], p: Sequence[Floats], groups: Sequence[str]) -> str:
    """Draw p of each layer as a map of kernels by groups, kernels sorted by group and certainty, as SVG.

    Args:
        names: of the layers.
        p: ``(K, G)`` of each layer.
        groups: names of the groups.
    """
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    wide = 0.75 + 0.2 * len(groups)
    with charts.drawing(max(5.0, wide * across + 1), 0.9 + 2.5 * down, "probabilities by kernel") as (figure, result):
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes in grid[len(names) :]:
            axes.set_axis_off()
        for axes, name, values in zip(grid, names, p, strict=False):
            picture = axes.pcolormesh(sorted_kernels(values), vmin=0, vmax=1, cmap="viridis", rasterized=True)
            axes.invert_yaxis()
            axes.grid(visible=False)
            axes.set_title(f"{name} ({len(values)})", fontsize=9.5)
            axes.set_yticks([])
            axes.set_xticks(np.arange(len(groups)) + 0.5, groups, rotation=90, fontsize=8.5)
            for tick, colour in zip(axes.get_xticklabels(), charts.group_colours(groups), strict=True):
                tick.set_color(colour)
                tick.set_fontweight("bold")
        bar = figure.colorbar(picture, ax=list(grid), label="probability of the group", aspect=30 * down, fraction=0.03)
        bar.outline.set_visible(False)
    return result[0]


def sorted_kernels(p: Floats) -> Floats:
    """Rows of ``(K, G)`` by likeliest group, the most certain kernel of each group first."""
    result: Floats = p[np.lexsort((-p.max(axis=1), p.argmax(axis=1)))]
    return result
