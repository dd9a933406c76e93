# SPDX-License-Identifier: Apache-2.0
"""Small charts beside an organ's numbers: its HU, and its volume among those of the cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from sfg_med.inference.plausible import Limit

Array = NDArray[Any]
BINS = 40
WIDTH, HEIGHT, BASE = 230, 62, 44
FEW = 12
"""Below this number a cohort is shown as single cases: a distribution would be a guess."""


@dataclass(frozen=True)
class Histogram:
    """Counts in equal bins from ``low`` to ``high``; what lies outside is counted in the first and last bin."""

    low: float
    high: float
    counts: tuple[int, ...]
    reference: tuple[int, ...] = ()


def histogram(values: Array, reference: Array | None = None) -> Histogram | None:
    """Count the values of an organ, ``(N,)``, between round ends that hold 98 % of them.

    Args:
        values: of the synthetic image inside the predicted organ.
        reference: of the reference image inside the reference organ (or the predicted one, where there is none).

    Returns:
        ``None`` without values.
    """
    if not values.size:
        return None
    both = values if reference is None or not reference.size else np.concatenate([values, reference])
    low, high = _round_ends(*(float(end) for end in np.percentile(both, [1, 99])))
    edges = np.linspace(low, high, BINS + 1)

    def counted(numbers: Array) -> tuple[int, ...]:
        return tuple(int(n) for n in np.histogram(np.clip(numbers, low, high), edges)[0])

    return Histogram(low, high, counted(values), () if reference is None else counted(reference))


def histogram_svg(chart: Histogram, unit: str, name: str, colour: str) -> Markup:
    """Filled steps for the synthetic image, a line for the reference, both of area 1; ends of the axis in the unit."""
    label = f"Histogram of {unit} in {name}, {chart.low:g} to {chart.high:g} {unit}"
    shares = [np.asarray(c, float) / max(1, sum(c)) for c in (chart.counts, chart.reference) if c]
    top = max(float(s.max()) for s in shares)
    parts = [f'<path class="fill" style="fill:{colour}" d="{_steps(shares[0] / top)}"/>']
    if len(shares) > 1:
        parts.append(f'<path class="truth" d="{_steps(shares[1] / top)}"/>')
    if chart.low < 0 < chart.high:
        x = WIDTH * (0 - chart.low) / (chart.high - chart.low)
        parts.append(f'<path class="zero" d="M{x:.1f} 4V{BASE}"/>')
        if 30 < x < WIDTH - 60:
            parts.append(f'<text x="{x:.1f}" y="58" text-anchor="middle">0</text>')
    return _svg(label, parts, f"{chart.low:g}", f"{chart.high:g} {unit}")


def cohort_svg(values: Sequence[float], own: float, limit: Limit | None, name: str, unit: str = "ml") -> Markup:
    """Where one case lies among all: bars (dots in a small cohort), the plausible range, and a mark at this case."""
    found = np.asarray([v for v in values if np.isfinite(v)], float)
    low, high = _round_ends(min(0.0, float(found.min())), float(found.max()) * 1.02 or 1.0)

    def x(value: float) -> float:
        return float(np.clip(WIDTH * (value - low) / (high - low), 1, WIDTH - 1))

    parts = []
    if limit is not None:
        left = x(low if limit.low is None else limit.low)
        right = x(high if limit.high is None else limit.high)
        parts.append(f'<rect class="plausible" x="{left:.1f}" y="4" width="{max(0.0, right - left):.1f}" height="40"/>')
    if len(found) < FEW:
        parts += [f'<circle class="dot" cx="{x(v):.1f}" cy="34" r="3.5"/>' for v in found]
    else:
        counts = np.histogram(found, np.linspace(low, high, BINS + 1))[0]
        parts.append(f'<path class="bars" d="{_steps(counts / max(1, counts.max()))}"/>')
    parts.append(f'<path class="own" d="M{x(own):.1f} 4V{BASE}"/>')
    parts.append(f'<text x="{WIDTH / 2}" y="58" text-anchor="middle">{rank_words(found.tolist(), own)}</text>')
    label = f"{name}: {own:.1f} {unit}, among {len(found)} cases from {found.min():.1f} to {found.max():.1f} {unit}"
    return _svg(label, parts, f"{low:g}", f"{high:g} {unit}")


def rank_words(values: Sequence[float], own: float) -> str:
    """``12 of 299 others larger``, so that the chart need not be read by eye."""
    found = [v for v in values if np.isfinite(v)]
    if len(found) < 2:
        return "the only case"
    larger = sum(v > own for v in found)
    return f"{larger} of {len(found) - 1} others larger"


def _steps(heights: Array) -> str:
    """Path around bars of heights 0 to 1 that fill the width."""
    step = WIDTH / len(heights)
    tops = (f"V{BASE - 38 * float(h):.1f}h{step:.2f}" for h in heights)
    return f"M0 {BASE}{''.join(tops)}V{BASE}Z"


def _svg(label: str, parts: Sequence[str], first: str, last: str) -> Markup:
    head = Markup('<svg class="small" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>').format(
        WIDTH, HEIGHT, label, label
    )
    axis = f'<path class="axis" d="M0 {BASE}H{WIDTH}"/>'
    ends = Markup('<text x="0" y="58">{}</text><text x="{}" y="58" text-anchor="end">{}</text></svg>').format(
        first, WIDTH, last
    )
    return head + Markup("".join(parts) + axis) + ends  # safe: numbers and fixed words only


def _round_ends(low: float, high: float) -> tuple[float, float]:
    """Round numbers just outside a range."""
    span = max(high - low, 1e-6)
    step = 10.0 ** np.floor(np.log10(span / 2))
    step = next(s * step for s in (1, 2, 5, 10) if span / (s * step) <= 10)
    return float(np.floor(low / step) * step), float(np.ceil(high / step + 1e-9) * step)
