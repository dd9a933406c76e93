# SPDX-License-Identifier: Apache-2.0
"""``overview.png``: the prepared images of a case in three planes, to be looked at before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from sfg_med.data.atomic import atomic_path
from sfg_med.preparation.case import Prepared
from sfg_med.preparation.images import array_of
from sfg_med.preparation.inputs import CT, MASK, MR, SEG

# CT window: centre 40, width 400 HU.
WINDOW_HU = (-160.0, 240.0)
SQUARE_MM = 30.0
# Width of a picture in inches.
WIDTH_IN = 3.2
# Name, axis that the plane cuts, and what lies at the left, right, top and bottom of the picture.
_PLANES = (("axial", 2, "RLAP"), ("coronal", 1, "RLSI"), ("sagittal", 0, "APSI"))
_BEFORE, _AFTER, _BODY = "tab:orange", "tab:cyan", "tab:red"
_Volumes = dict[str, NDArray[Any]]


def write_overview(path: Path, case: str, prepared: Prepared) -> None:
    """Draw MR, CT, checkerboard and outlines through the middle of the body.

    Args:
        path: a ``.png``.
        case: for the title.
        prepared: the case; without CT only the MR is drawn.
    """
    spacing = prepared.images[MR].GetSpacing()
    volumes = {role: array_of(image) for role, image in prepared.images.items()}
    for name, image in (("before", prepared.before), ("after", prepared.after)):
        if image is not None:
            volumes[name] = array_of(image)
    columns = (_draw_mr, _draw_ct, _draw_checkerboard, _draw_outlines) if CT in volumes else (_draw_mr,)
    centre = [int(np.rint(p.mean())) for p in np.nonzero(volumes[MASK])]
    x, y, z = (n * mm for n, mm in zip(volumes[MR].shape, spacing, strict=True))
    heights = [WIDTH_IN * high / wide for high, wide in ((y, x), (z, x), (z, y))]
    figure = Figure(figsize=((WIDTH_IN + 0.3) * len(columns) + 0.5, sum(heights) + 2.6), layout="constrained")
    rows = figure.subplots(3, len(columns), squeeze=False, height_ratios=heights)
    for axes, (plane, axis, marks) in zip(rows, _PLANES, strict=True):
        cut = {name: _cut(volume, axis, centre[axis]) for name, volume in volumes.items()}
        sides = [mm for n, mm in enumerate(spacing) if n != axis]
        for ax, draw in zip(axes, columns, strict=True):
            draw(ax, cut, sides)
            _frame(ax, next(iter(cut.values())).shape, sides, marks)
        axes[0].set_ylabel(f"{plane}, mm")
    rows[2][0].set_xlabel("mm")
    rows[0][0].set_title(_mr_title(volumes), fontsize=9)
    if CT in volumes:
        rows[0][1].set_title(f"CT, {WINDOW_HU[0]:g} to {WINDOW_HU[1]:g} HU", fontsize=9)
        rows[0][2].set_title(f"MR | CT in squares of {SQUARE_MM:g} mm", fontsize=9)
        rows[0][3].set_title("outline of the body on the MR", fontsize=9)
        names = ((_BEFORE, "CT as the headers say"), (_AFTER, "CT aligned"), (_BODY, "mask: both scans"))
        handles = [Line2D([], [], color=color, label=name) for color, name in names]
        figure.legend(handles=handles, fontsize=8, loc="outside lower right", ncols=3)
    figure.suptitle(_title(case, prepared), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def _cut(volume: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    # every axis is reversed: rows and columns run to the patient's left, back and feet
    return np.take(volume, index, axis=axis)[::-1, ::-1].T


def _frame(ax: Axes, shape: tuple[int, ...], sides: list[float], marks: str) -> None:
    ax.set_aspect(sides[1] / sides[0])
    height, width = shape[0], shape[1]
    for side, length, put in ((sides[0], width, ax.set_xticks), (sides[1], height, ax.set_yticks)):
        ticks = np.arange(0, length * side, 100.0)
        put(ticks / side - 0.5, [f"{t:g}" for t in ticks], fontsize=7)
    sideways = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"))
    places = (*sideways, (0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom"))
    for mark, (x, y, across, along) in zip(marks, places, strict=True):
        ax.text(x, y, mark, color="yellow", transform=ax.transAxes, ha=across, va=along, fontsize=8)


def _draw_mr(ax: Axes, cut: _Volumes, sides: list[float]) -> None:
    ax.imshow(_grey(cut), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if SEG in cut:
        for value in range(1, int(cut[SEG].max()) + 1):
            if np.any(cut[SEG] == value):
                ax.contour(cut[SEG] == value, [0.5], colors=[f"C{value % 10}"], linewidths=0.8)


def _draw_ct(ax: Axes, cut: _Volumes, sides: list[float]) -> None:
    ax.imshow(cut[CT], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], interpolation="nearest")


def _draw_checkerboard(ax: Axes, cut: _Volumes, sides: list[float]) -> None:
    rows, columns = np.indices(cut[CT].shape)
    odd = ((rows * sides[1]) // SQUARE_MM + (columns * sides[0]) // SQUARE_MM) % 2 == 1
    ct = np.clip((cut[CT] - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1)
    ax.imshow(np.where(odd, ct, _grey(cut)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _draw_outlines(ax: Axes, cut: _Volumes, sides: list[float]) -> None:
    ax.imshow(_grey(cut), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for name, color, style in ((MASK, _BODY, "-"), ("before", _BEFORE, "-"), ("after", _AFTER, "--")):
        if np.any(cut[name]) and not np.all(cut[name]):
            ax.contour(cut[name] > 0, [0.5], colors=[color], linewidths=1.2, linestyles=style)


def _grey(cut: _Volumes) -> NDArray[Any]:
    values = cut[MR]
    low, high = np.percentile(values, [1, 99.5])
    return np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)


def _mr_title(volumes: _Volumes) -> str:
    organs = ", contours: organs" if SEG in volumes else ""
    return f"MR, 1st to 99.5th percentile of the slice{organs}"


def _title(case: str, prepared: Prepared) -> str:
    figures = prepared.figures
    last = "after" if "body_dice_after" in figures and "deformation_refused" not in prepared.flags else "rigid"
    last = last if f"body_dice_{last}" in figures else "before"
    parts = [case]
    if "body_dice_before" in figures:
        for name, words in (("body_dice", "Dice of the bodies"), ("mutual_information", "mutual information")):
            after = f" before, {figures[f'{name}_{last}']:.3f} after" if last != "before" else ""
            parts.append(f"{words} {figures[f'{name}_before']:.3f}{after}")
    if "displacement_mm_p95" in figures:
        moved, smallest = figures["displacement_mm_p95"], figures["jacobian_min"]
        parts.append(f"deformation: 95 % move under {moved:.1f} mm, smallest Jacobian {smallest:.2f}")
    if prepared.flags:
        parts.append(f"flags: {', '.join(prepared.flags)}")
    return "\n".join(parts)
