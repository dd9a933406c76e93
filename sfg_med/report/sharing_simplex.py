# SPDX-License-Identifier: Apache-2.0
"""Group probabilities of two tasks as points in a triangle: where the kernels lie, and how they came there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation

from sfg_med.report import charts
from sfg_med.report.sharing_files import Floats, Trajectories

CELLS = 11
"""Cells along an axis of the simplex, and a smoothing of one cell, as in the paper (methods.md 1.13)."""

CORNERS = np.array([[0.0, 0.0], [0.5, np.sqrt(3) / 2], [1.0, 0.0]])
"""Of task 1, shared and task 2: the order of the groups."""

ACROSS = 6
TICKS = (0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
TIME = ListedColormap(colormaps["cividis"](np.linspace(0, 0.93, 256)), "time")
"""Without its palest end, which is lost on white."""


def to_plane(p: Floats) -> Floats:
    """``(..., 3)`` probabilities to ``(..., 2)`` points of an upright triangle with sides of length 1."""
    result: Floats = p @ CORNERS
    return result


def lattice(cells: int = CELLS) -> Floats:
    """``(cells * (cells + 1) / 2, 3)``: the probabilities at the cells' centres."""
    n = cells - 1
    return np.array([(i, j, n - i - j) for i in range(cells) for j in range(cells - i)], dtype=float) / n


def density(p: Floats, cells: int = CELLS) -> Floats:
    """Gaussian-smoothed share of the kernels in each cell of :func:`lattice`; the sum is 1.

    The width is one cell along each axis. A kernel near a border is spread over the cells inside only, so that a
    corner keeps all its kernels.

    Args:
        p: ``(K, 3)``.
        cells: along an axis.
    """
    kept = p[p.sum(axis=1) > 0]
    if not len(kept):
        return np.zeros(len(lattice(cells)))
    distances = np.sum(((kept[:, None] - lattice(cells)) * (cells - 1)) ** 2, axis=-1)
    weights = np.exp(-distances / 2)
    result: Floats = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
    return result


def simplex_densities(names: Sequence[str], p: Sequence[Floats], groups: Sequence[str]) -> str:
    """Draw where the kernels of each layer lie: a triangle each, as SVG.

    Args:
        names: of the layers.
        p: ``(K, 3)`` of each layer.
        groups: task 1, shared, task 2.
    """
    densities = [density(values) for values in p]
    triangles = Triangulation(*to_plane(lattice()).T)
    most = max(float(d.max()) for d in densities) or 1.0
    norm = PowerNorm(0.5, 0, most)
    with _triangles("densities in the simplex", names, [len(v) for v in p], groups) as (figure, axes, result):
        for panel, values in zip(axes, densities, strict=True):
            panel.tripcolor(triangles, values, shading="gouraud", norm=norm, cmap="viridis", rasterized=True, zorder=1)
        label = f"share of the layer's kernels in one of {len(lattice())} cells"
        bar = _bar(figure, axes, ScalarMappable(norm, "viridis"), label)
        bar.set_ticks([tick for tick in TICKS if tick <= most])
        bar.ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    return result[0]


def simplex_trajectories(record: Trajectories) -> str:
    """Draw the way of each kernel up to the last record before the groups were fixed, as SVG."""
    steps = record.steps[: record.learned + 1]
    norm = Normalize(steps[0], max(steps[-1], steps[0] + 1))
    counts = [v.shape[1] for v in record.p]
    with _triangles("trajectories in the simplex", record.names, counts, record.groups) as (figure, axes, result):
        for panel, values in zip(axes, record.p, strict=True):
            points = to_plane(values[: len(steps)])
            # all kernels' segments of one time together: late ones lie on top of early ones in every panel
            segments = np.stack([points[:-1], points[1:]], axis=2).reshape(-1, 2, 2)
            times = np.repeat(steps[1:], values.shape[1])
            lines = LineCollection(list(segments), norm=norm, cmap=TIME, linewidths=0.9, alpha=0.8, rasterized=True)
            lines.set_array(times)
            panel.add_collection(lines)
            x, y = points[-1].T
            panel.scatter(x, y, s=7, color=TIME(1.0), linewidths=0.3, edgecolors="black", zorder=4)
        bar = _bar(figure, axes, ScalarMappable(norm, TIME), "training step")
        bar.ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return result[0]


@contextmanager
def _triangles(
    name: str, titles: Sequence[str], kernels: Sequence[int], groups: Sequence[str]
) -> Iterator[tuple[Figure, list[Axes], list[str]]]:
    """A grid of triangles, one a layer, with a dot of each group's colour in its corner."""
    across = min(ACROSS, len(titles))
    down = -(-len(titles) // across)
    with charts.drawing(1.95 * max(across, 3), 0.95 + 1.95 * down, name) as (figure, result):
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        axes_of = list(grid[: len(titles)])
        colours = charts.group_colours(groups)
        for axes, title, count in zip(axes_of, titles, kernels, strict=True):
            axes.set(aspect="equal", xlim=(-0.08, 1.08), ylim=(-0.09, 0.95))
            axes.set_title(f"{title} ({count})", fontsize=9.5, pad=2)
            axes.fill(*CORNERS.T, facecolor="#f2f4f6", edgecolor="none", zorder=0)
            axes.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color="#7d8791", linewidth=0.8, zorder=3)
            axes.scatter(CORNERS[:, 0], CORNERS[:, 1], s=34, color=colours, zorder=5, clip_on=False)
        places = ("lower left", "top", "lower right")
        handles = [
            Line2D([], [], marker="o", linestyle="", color=colour, label=f"{group} ({place})")
            for group, colour, place in zip(groups, colours, places, strict=True)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=10.5)
        yield figure, axes_of, result


def _bar(figure: Figure, axes: list[Axes], picture: ScalarMappable, label: str) -> Any:
    bar = figure.colorbar(picture, ax=axes, location="bottom", label=label, fraction=0.03, aspect=45, pad=0.01)
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
    return bar
