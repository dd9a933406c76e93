# SPDX-License-Identifier: Apache-2.0
"""``learned.html``: what a network learned to share, with activation maps where a case was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sfg_med.report import charts
from sfg_med.report.html import Chart, render
from sfg_med.report.sharing_activations import LayerMaps, activation_rows, picture

PAGE = "learned.html"
WIDEST = 1450


@dataclass(frozen=True)
class Section:
    """A heading with sentences, a table (its first row holds the headings) and charts."""

    title: str
    charts: Sequence[Chart] = ()
    lines: Sequence[str] = ()
    table: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Activations:
    """What a network makes of one slice.

    Args:
        image: ``(rows, columns)`` of the input, as the network sees it.
        layers: in forward order.
        groups: names of the groups.
        source: name of the input, such as ``"MR"``.
        about: which case and slice, in a sentence.
    """

    image: NDArray[Any]
    layers: Sequence[LayerMaps]
    groups: Sequence[str]
    source: str
    about: str


@dataclass(frozen=True)
class LearnedPage:
    """What the page shows.

    Args:
        title: of the page.
        facts: pairs of name and value.
        sections: in order.
        activations: maps of a case, or none.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default_factory=list)
    activations: Activations | None = None


def write_learned_page(target: Path, page: LearnedPage) -> Path:
    """Write the page; it needs no other file."""
    shown = page.activations
    groups = shown.groups if shown else ()
    across = 2 * len(groups) + 3
    rows, columns = shown.image.shape if shown else (1, 1)
    return render(
        "learned.html.j2",
        target,
        title=page.title,
        facts=page.facts,
        sections=page.sections,
        rows=activation_rows(shown.layers, groups) if shown else None,
        image=picture(shown.image) if shown else "",
        source=shown.source if shown else "",
        about=shown.about if shown else "",
        legend=list(zip(groups, charts.group_colours(groups), strict=True)) if shown else [],
        cell_px=max(100, min(170, (WIDEST - 30) // across - 8)),
        aspect=f"{columns} / {rows}",
    )
