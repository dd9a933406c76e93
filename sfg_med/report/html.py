# SPDX-License-Identifier: Apache-2.0
"""Render a self-contained page from a template of this package; nothing on it is fetched from elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jinja2

from sfg_med.data.atomic import atomic_path

MISSING = "–"


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
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(environment.get_template(template).generate(**values))
    return target


def number(value: Any, digits: int = 1) -> str:
    """A number with a fixed number of digits, or a dash where there is none."""
    if value is None or not math.isfinite(float(value)):
        return MISSING
    return f"{float(value):.{digits}f}"
