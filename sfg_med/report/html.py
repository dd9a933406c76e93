# SPDX-License-Identifier: Apache-2.0
"""Render a self-contained page from a template of this package; nothing on it is fetched from elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sfg_med.data.atomic import atomic_path

MISSING = "–"


@dataclass(frozen=True)
class Chart:
    """A chart and what it says in words.

    Args:
        title: of the chart.
        svg: the picture.
        text: the caption.
        width: natural width in pixels, at which its letters are as large as those around it.
        folded: whether the reader has to open it.
    """

    title: str
    svg: Markup
    text: str = ""
    width: int = 0
    folded: bool = False


def chart(title: str, svg: str, text: str = "", *, folded: bool = False) -> Chart:
    """A chart of SVG from :mod:`sfg_med.report.charts`."""
    points = float(svg.split('viewBox="', 1)[1].split('"', 1)[0].split()[2])
    # safe: drawn by matplotlib, which escapes all text
    return Chart(title, Markup(svg), text, round(points * 96 / 72), folded)


def render(template: str, target: Path, **values: Any) -> Path:
    """Write a page in one step, part by part, so that the pictures of all cases are never in memory together.

    Args:
        template: file in ``sfg_med/report/templates``.
        target: the page.
        values: what the template names; generators are consumed as the page is written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sfg_med.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.undefined = jinja2.StrictUndefined
    environment.filters["number"] = number
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        # names of files may hold bytes that are no UTF-8
        file.writelines(environment.get_template(template).generate(**values))
    return target


def number(value: Any, digits: int = 1) -> str:
    """A number with a fixed number of digits, or a dash where there is none."""
    if value is None or not math.isfinite(float(value)):
        return MISSING
    return f"{float(value):.{digits}f}"
