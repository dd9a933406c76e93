# SPDX-License-Identifier: Apache-2.0
"""Charts as inline SVG that takes its ink from the page, so that it is right in light and in dark mode."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sfg_med.report.run_files import Curve, Shares

SHARED_COLOUR = "#58b977"
GROUP_COLOURS = ("#2466c3", "#e292c5", "#d98a00", "#8b7bd8", "#8f8f1f", "#7d8791", "#c2553f")
"""Of the group of all tasks, and of the others, on white and on black. Blue, green and pink are those of the paper,
moved until they differ by a CIEDE2000 of 20 or more for simulated protanopia, deuteranopia and tritanopia too."""

LINE_COLOURS = ("#3b8fd6", "#d98a00", "#2c9c79", "#d3639b", "#8b7bd8", "#c2553f", "#7d8791", "#8f8f1f")
POINTS = 600
INK, RULE = "#010203", "#010204"
"""Stand-ins that become the page's own ink and rules."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
}


def group_colours(groups: Sequence[str]) -> list[str]:
    """One colour for each group; the group of most tasks (``ct+seg``) is green as in the paper.

    The groups of single tasks come first, so that the first task is blue and the second pink with any set of groups.
    """
    widest = max(range(len(groups)), key=lambda i: groups[i].count("+"))
    others = sorted((i for i in range(len(groups)) if i != widest), key=lambda i: (groups[i].count("+"), i))
    found = {group: GROUP_COLOURS[number % len(GROUP_COLOURS)] for number, group in enumerate(others)}
    return [found.get(i, SHARED_COLOUR) for i in range(len(groups))]


def legend_columns(labels: Sequence[str], inches: float) -> int:
    """How many legend entries fit into a row of a figure of this width."""
    entry = 0.75 + 0.1 * max(map(len, labels))
    return max(1, min(len(labels), int(inches / entry)))


@contextmanager
def drawing(width: float, height: float, name: str) -> Iterator[tuple[Figure, list[str]]]:
    """Give a figure and a list that holds its SVG afterwards; ``name`` keeps ids apart on one page."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        result: list[str] = []
        yield figure, result
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        result.append(_inline(buffer.getvalue(), name))


def _inline(svg: str, label: str) -> str:
    """Keep the element alone, without names of standards, and let the page choose ink and rules."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\s(?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", svg.split(">", 1)[0]) + (
        f' role="img" aria-label="{html.escape(label)}">' + svg.split(">", 1)[1]
    )
    return svg.replace(INK, "currentColor").replace(RULE, "var(--line)")


def standalone(svg: str) -> str:
    """A chart as a file of its own, on white: there is no page whose ink it could take."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg ", f'<svg {names} style="background:#fff;color:#1d2433;--line:#dfe3ea" ', 1)


def line_chart(
    curves: Mapping[str, Curve],
    axis: str,
    *,
    name: str,
    limits: tuple[float, float] | None = None,
    logarithmic: bool = False,
    mark: float | None = None,
) -> str:
    """Draw quantities of one unit over the steps.

    Args:
        curves: legend entry to curve; a single one gets no legend.
        axis: what the vertical axis shows, with its unit.
        name: of the chart, unique on the page.
        limits: of the vertical axis.
        logarithmic: vertical axis; only for positive values.
        mark: step to mark with a vertical line.
    """
    with drawing(6.4, 3.3, name) as (figure, result):
        axes = figure.add_subplot()
        for number, (title, curve) in enumerate(curves.items()):
            every = max(1, len(curve.steps) // POINTS)
            style = "o-" if len(curve.steps) <= 40 else "-"
            colour = LINE_COLOURS[number % len(LINE_COLOURS)]
            steps, values = curve.steps[::every], curve.values[::every]
            axes.plot(steps, values, style, color=colour, label=title, linewidth=1.6, markersize=3.5)
        if mark is not None:
            axes.axvline(mark, color=INK, linestyle=":", linewidth=1.2)
        axes.set(xlabel="training step", ylabel=axis)
        if limits:
            axes.set_ylim(*limits)
        if logarithmic:
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(curves) > 1:
            figure.legend(loc="outside lower center", ncols=min(3, len(curves)), fontsize=10)
    return result[0]


def share_maps(shares: Shares) -> str:
    """Draw for each group a map of its share: layers downwards, steps to the right."""
    count = len(shares.groups)
    across = min(count, 3)
    down = -(-count // across)
    with drawing(11.5, down * (1.3 + 0.2 * len(shares.layers)), "group shares over time") as (
        figure,
        result,
    ):
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[count:]:
            axes.set_axis_off()
        for number, axes in enumerate(grid.flat[:count]):
            picture = axes.pcolormesh(
                edges(shares.steps),
                np.arange(len(shares.layers) + 1) - 0.5,
                shares.values[:, :, number].T,
                vmin=0,
                vmax=1,
                cmap="viridis",
                rasterized=True,
            )
            axes.set_title(shares.groups[number], fontsize=11)
            axes.grid(visible=False)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        first = grid[0, 0]
        first.set_yticks(range(len(shares.layers)), shares.layers)
        first.invert_yaxis()
        for axes in grid[:, 0]:
            axes.tick_params(axis="y", labelsize=9)
        figure.supxlabel("training step", fontsize=11)
        bar = figure.colorbar(picture, ax=grid.ravel().tolist(), label="share of the layer's kernels", aspect=30 * down)
        bar.outline.set_visible(False)
    return result[0]


def share_curves(shares: Shares) -> str:
    """Draw the share of each group among all kernels over the steps."""
    with drawing(6.4, 3.3, "shares of all kernels over time") as (figure, result):
        axes = figure.add_subplot()
        colours = group_colours(shares.groups)
        axes.stackplot(shares.steps, shares.overall.T, labels=shares.groups, colors=colours)
        axes.set(xlabel="training step", ylabel="share of all kernels", ylim=(0, 1))
        axes.margins(x=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        figure.legend(loc="outside lower center", ncols=min(4, len(shares.groups)))
    return result[0]


def edges(steps: Sequence[int]) -> np.ndarray:
    """Borders of cells around the recorded steps, which need not be evenly spaced."""
    centres = np.asarray(steps, dtype=float)
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([centres[:1], inner, centres[-1:]])
