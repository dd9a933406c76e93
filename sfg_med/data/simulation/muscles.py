# SPDX-License-Identifier: Apache-2.0
"""Muscles: overlapping rods and plates, parted by planes of fat where two are equally near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.shapes import Point, plate, tube
from sfg_med.data.simulation.space import Space


@dataclass(frozen=True)
class Part:
    """A piece of muscle on the right side, x lateral (mm).

    Args:
        muscle: name; pieces of one muscle have no fat between them.
        points: centre line, or corners of a plate.
        radii: one radius for each point, or one half thickness for a plate.
    """

    muscle: str
    points: tuple[Point, ...]
    radii: tuple[float, ...]

    def distance(self, p: tuple[Array, Array, Array]) -> Array:
        """Signed distance at lateral-positive positions."""
        if len(self.radii) == 1:
            return plate(p, self.points, self.radii[0])
        return tube(p, self.points, self.radii)


PARTS = (
    Part("gluteus maximus", ((45, -92, 75), (72, -88, 25), (150, -62, -25), (128, -62, 45)), (22,)),
    Part("gluteus maximus", ((40, -92, 40), (45, -80, -35), (135, -55, -60), (120, -70, 20)), (24,)),
    Part("gluteus maximus", ((55, -85, -30), (95, -75, -62), (140, -42, -100)), (20, 22, 15)),
    Part("gluteus medius", ((132, 30, 95), (94, -55, 85), (146, -22, 8), (138, 30, 40)), (20,)),
    Part("gluteus medius", ((108, -62, 100), (132, -20, 112), (142, 5, 60)), (20, 22, 20)),
    Part("gluteus minimus", ((114, 28, 45), (98, -30, 48), (140, -6, 6)), (10,)),
    Part("tensor fasciae latae", ((138, 48, 55), (150, 36, 5), (154, 12, -60)), (12, 15, 10)),
    Part("sartorius", ((124, 58, 62), (112, 72, 10), (98, 74, -40), (66, 62, -120)), (8, 11, 12, 12)),
    Part("rectus femoris", ((104, 44, 35), (118, 54, -20), (116, 55, -120)), (8, 14, 17)),
    Part("vastus lateralis", ((150, -6, -35), (152, 2, -70), (146, 8, -125)), (14, 21, 26)),
    Part("vastus intermedius", ((120, 20, -34), (128, 24, -60), (124, 28, -125)), (11, 17, 21)),
    Part("vastus medialis", ((104, 12, -70), (98, 22, -125)), (8, 16)),
    Part("iliacus", ((122, 35, 95), (62, -30, 95), (84, 14, 30)), (13,)),
    Part(
        "iliopsoas",
        ((44, -22, 180), (50, -2, 115), (64, 16, 60), (82, 36, 18), (92, 34, -18), (108, -6, -58)),
        (20, 24, 21, 17, 16, 12),
    ),
    Part("pectineus", ((34, 54, -6), (64, 44, -26), (104, 4, -66)), (8, 15, 8)),
    Part("adductor longus", ((18, 50, -34), (52, 46, -75), (78, 34, -125)), (8, 17, 19)),
    Part("adductor brevis", ((20, 32, -42), (62, 22, -70), (96, 8, -100)), (9, 17, 12)),
    Part("adductor magnus", ((36, -8, -68), (68, -12, -95), (84, -10, -130)), (10, 25, 32)),
    Part("adductor magnus", ((34, -4, -60), (60, -30, -66), (112, -18, -80), (90, 12, -92)), (11,)),
    Part("gracilis", ((13, 32, -48), (32, 14, -90), (36, 6, -125)), (6, 9, 10)),
    Part("hamstrings", ((62, -50, -62), (84, -54, -92), (98, -50, -130)), (10, 20, 28)),
    Part("semimembranosus", ((58, -44, -74), (62, -44, -98), (62, -40, -130)), (8, 16, 22)),
    Part("obturator internus", ((59, 30, -2), (56, -26, 32), (47, -40, -40), (39, 24, -38)), (10.5,)),
    Part("obturator internus", ((54, -40, -18), (84, -46, -8), (136, -24, -6)), (8, 6, 4)),
    Part("obturator externus", ((34, 28, -32), (62, 8, -36), (118, -26, -16)), (11, 14, 5)),
    Part("quadratus femoris", ((66, -32, -24), (120, -32, -22), (118, -30, -60), (70, -34, -60)), (9,)),
    Part("piriformis", ((22, -74, 52), (60, -64, 34), (138, -26, 10)), (8, 12, 5)),
    Part("rectus abdominis", ((14, 74, 185), (40, 76, 185), (22, 60, 8), (8, 62, 4)), (7,)),
    Part("multifidus", ((18, -96, 60), (26, -88, 125), (30, -80, 185)), (8, 20, 24)),
    Part("quadratus lumborum", ((70, -58, 122), (62, -48, 185)), (14, 14)),
    Part("coccygeus", ((54, -38, 4), (18, -66, 4), (12, -64, -14)), (2.2,)),
)


@dataclass(frozen=True)
class Muscles:
    """Where the muscles are.

    Args:
        distance: signed distance (mm) to the nearest muscle, fat planes cut out.
        index: which muscle, for its own brightness; 0 where none is near.
    """

    distance: Array
    index: np.ndarray


def _extended(part: Part) -> Part:
    """A rod that ends low in the thigh, drawn on below every field of view."""
    last, before = np.array(part.points[-1], float), np.array(part.points[-2], float)
    if len(part.radii) == 1 or last[2] > -115:
        return part
    end = last + (last - before) * (-185 - last[2]) / (last[2] - before[2])
    return Part(part.muscle, (*part.points, tuple(end.tolist())), (*part.radii, part.radii[-1]))


def build_muscles(space: Space, fascia: Array, man: Man) -> Muscles:
    """Evaluate all muscles of both sides.

    Args:
        space: the man's coordinates.
        fascia: signed distance to the fascia that holds them, on the whole grid.
        man: his muscles swell to fill the space between bones and fascia, until they meet or planes of fat part them.
    """
    first = np.full(space.shape, 60.0, np.float32)
    second, index = first.copy(), np.zeros(space.shape, np.uint8)
    names = sorted({part.muscle for part in PARTS})
    swell = 1.6 * space.noise("muscle", 22.0) - np.float32(man.muscle_mm)
    swell = np.asarray(swell, np.float32)
    for side in (-1, 1):
        for name in names:
            pieces = [_extended(part) for part in PARTS if part.muscle == name]
            _add_muscle(
                space, pieces, (first, second, index), side, names.index(name) + 1 + (side > 0) * 40, swell, man
            )
    x, y, z = space.still
    wall = np.maximum(np.maximum(-fascia - 13, fascia), np.maximum(12 - y - 0.3 * (z - 60), 48 - z))
    wall = np.maximum(wall, 40 - np.abs(x))
    np.minimum(second, np.maximum(first, wall), out=second)
    np.minimum(first, wall, out=first)
    gap = np.float32(0.9 * man.muscle_fat) * (1 + 0.6 * np.clip(space.noise("septa", 26.0), -1.2, 2.0))
    parted = np.maximum(first, gap - (second - first) / 2)
    return Muscles(np.maximum(parted, fascia + np.float32(1.2)), index)


def _add_muscle(
    space: Space,
    pieces: Sequence[Part],
    found: tuple[Array, Array, np.ndarray],
    side: int,
    number: int,
    swell: Array,
    man: Man,
) -> None:
    first, second, index = found
    corners = [q for piece in pieces for q in piece.points]
    box = space.box(corners, max(max(piece.radii) for piece in pieces) + 5.0 + man.muscle_mm, side)
    if box is None:
        return
    p = space.at(box, side)
    distance = pieces[0].distance(p)
    for piece in pieces[1:]:
        np.minimum(distance, piece.distance(p), out=distance)
    thin = pieces[0].radii[0] < 3  # a sheet of the pelvic floor does not swell
    distance += np.float32(2.2 - man.floor_mm) if thin else swell[box]
    nearest, runner_up = first[box], second[box]
    closer = distance < nearest
    np.minimum(runner_up, np.where(closer, nearest, distance), out=runner_up)
    nearest[closer] = distance[closer]
    index[box][closer] = number
