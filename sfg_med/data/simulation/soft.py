# SPDX-License-Identifier: Apache-2.0
"""Soft structures around the organs: bowel loops, vessels, nerves, spermatic cords."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from sfg_med.data.simulation.noise import Array, Streams
from sfg_med.data.simulation.shapes import Point, Points, tube


@dataclass(frozen=True)
class Line:
    """A tube of one material on the right side, x lateral (mm)."""

    tissue: str
    points: tuple[Point, ...]
    radii: tuple[float, ...]

    def distance(self, p: Points) -> Array:
        """Signed distance at lateral-positive positions."""
        return tube(p, self.points, self.radii)


LINES = (
    # external iliac and femoral: the artery lies lateral and in front; fast flow is dark, slow flow is grey
    Line(
        "flow_void",
        ((8, 10, 185), (9, 6, 160), (32, 8, 115), (54, 32, 60), (70, 54, 15), (74, 56, -20), (74, 36, -120)),
        (8, 8, 5.5, 5, 5, 4.8, 4),
    ),
    Line(
        "blood",
        ((13, 4, 185), (14, -1, 150), (28, -4, 115), (46, 18, 60), (60, 46, 15), (63, 50, -20), (66, 30, -120)),
        (9, 8.5, 7, 6.5, 6.5, 6.5, 5),
    ),
    Line("flow_void", ((30, -10, 110), (44, -28, 75), (50, -44, 45), (44, -52, 25)), (4, 3.5, 3, 2)),
    Line("blood", ((36, -16, 105), (50, -36, 70), (56, -44, 40), (40, -40, 15)), (4.5, 4, 3, 2)),
    Line("blood", ((48, -10, 45), (50, 4, 22), (52, 24, 2)), (2.2, 2, 2)),
    Line("blood", ((46, -34, 12), (33, -12, -2), (24, 0, -16)), (2.2, 2, 1.8)),
    Line("blood", ((10, 31, -22), (16, 29, -8), (30, 18, 4)), (2.4, 2.6, 2)),
    Line("blood", ((112, 28, -70), (92, 44, -48), (72, 52, -34)), (2, 2.5, 3)),
    Line("blood", ((82, 48, -60), (86, 22, -95), (90, 10, -125)), (3, 3, 3)),
    Line("blood", ((38, 84, -75), (44, 78, -45), (62, 64, -26)), (2, 2.6, 3)),
    Line("nerve", ((48, -56, 45), (76, -52, 10), (92, -42, -40), (96, -28, -125)), (4, 4.5, 4.5, 4)),
    Line("nerve", ((62, 34, 60), (84, 60, 10), (88, 66, -25)), (2.5, 3, 2)),
    Line("bladder_wall", ((12, 44, -86), (22, 60, -40), (38, 68, 4), (60, 64, 28)), (7, 6.5, 5, 3.5)),
    Line("blood", ((13, 46, -85), (23, 60, -40), (38, 68, 2)), (2.2, 2, 1.6)),
)


CRUS = Line("corpora", ((7, 22, -57), (24, 6, -61), (44, -17, -69)), (4.5, 4.5, 3))


def drawn_line(line: Line, rng: np.random.Generator, calibre: float) -> Line:
    """One man's course of a line: shifted and bent a little, on below every field of view; flow may change its look."""
    points = np.array(line.points, float) + rng.normal(0, 1.8, 3) + rng.normal(0, 1.0, (len(line.points), 3))
    radii = list(line.radii)
    vessel = line.tissue in ("blood", "flow_void")
    if vessel:
        radii = [r * calibre for r in radii]
    if points[-1][2] < -115:
        step = points[-1] - points[-2]
        points = np.vstack([points, points[-1] + step * (-185 - points[-1][2]) / step[2]])
        radii.append(radii[-1])
    other = {"flow_void": ("blood", 0.2), "blood": ("flow_void", 0.3)}
    tissue, chance = other.get(line.tissue, (line.tissue, 0.0))
    changed = rng.random() < chance
    nodes = tuple((float(x), float(y), float(z)) for x, y, z in points)
    return Line(tissue if changed else line.tissue, nodes, tuple(radii))


def bowel_courses(streams: Streams, bladder_top_mm: float, share: float) -> list[tuple[np.ndarray, float]]:
    """Random loops of small bowel and sigmoid colon above the bladder.

    Args:
        streams: the man's random streams.
        bladder_top_mm: loops stay above this height in the middle.
        share: share of the possible loops that are there.

    Returns:
        For each loop its centre line ``(n, 3)`` and radius, in mm.
    """
    rng = streams("bowel")
    loops = []
    floor = max(bladder_top_mm + 10.0, 30.0)
    for row in range(26):
        height = floor + 11.0 * (row // 2) + rng.uniform(-5, 8)
        reach = float(np.clip(34 + 0.45 * (height - 30), 34, 62))
        x = np.linspace(-reach, reach, 6) * rng.choice((-1, 1)) * rng.uniform(0.75, 1.0)
        y = (-8.0 if row % 2 else 40.0) + rng.normal(0, 12, 6)
        z = height + rng.normal(0, 9, 6)
        nodes = np.stack([x, np.clip(y, -40, 58), z], axis=1)
        line = CubicSpline(np.linspace(0, 1, 6), nodes)(np.linspace(0, 1, 12))
        line[:, 2] = np.maximum(line[:, 2], floor - 6)
        radius = float(rng.uniform(7.0, 17.0))
        if rng.random() < share:
            loops.append((line, radius))
    return loops


def sigmoid_course(streams: Streams, start: np.ndarray) -> np.ndarray:
    """Centre line ``(n, 3)`` of the sigmoid colon from the end of the rectum toward the left iliac fossa."""
    rng = streams("sigmoid")
    nodes = np.array([start, (10.0, -34, 76), (14, -2, 86), (-28, -6, 82), (-62, 22, 92), (-82, 34, 118)])
    nodes[1:] += rng.normal(0, 9, (5, 3))
    return np.asarray(CubicSpline(np.linspace(0, 1, 6), nodes)(np.linspace(0, 1, 18)))
