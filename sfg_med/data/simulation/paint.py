# SPDX-License-Identifier: Apache-2.0
"""Paint a man part by part, from the skin inward: the order decides who lies over whom."""

from __future__ import annotations

import numpy as np

from sfg_med.data.simulation import organs, soft
from sfg_med.data.simulation.body import Body, bulb, penis, testis
from sfg_med.data.simulation.clutter import paint_calcifications, paint_nodes, paint_phleboliths
from sfg_med.data.simulation.implant import paint_implant
from sfg_med.data.simulation.muscles import build_muscles
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.paint_bones import paint_bones
from sfg_med.data.simulation.paint_organs import paint_bladder, paint_prostate, paint_rectum, paint_vesicles
from sfg_med.data.simulation.painter import LEFT, RIGHT, Painter
from sfg_med.data.simulation.pelvic_floor import paint_pelvic_floor, paint_plexus
from sfg_med.data.simulation.shapes import Points, ramp, tube
from sfg_med.data.simulation.space import Look, whole


def paint_man(painter: Painter) -> Body:
    """Paint the whole man and return his outline."""
    body = Body(painter.space, painter.man)
    box = whole(painter.space)
    painter.canvas.paint(box, body.skin, painter.looks["skin"])
    painter.canvas.paint(box, body.skin + np.float32(1.8), _fat_look(painter, body))
    _paint_genitals(painter)
    _paint_muscles(painter, body)
    course = organs.rectum_course(painter.man, painter.space.streams)
    paint_pelvic_floor(painter, course)
    _paint_bowel(painter, body, course)
    _paint_lines(painter)
    _paint_corpora(painter)
    paint_phleboliths(painter)
    paint_nodes(painter)
    paint_vesicles(painter)
    paint_bladder(painter)
    paint_plexus(painter)
    paint_prostate(painter)
    paint_calcifications(painter)
    paint_rectum(painter, course)
    paint_bones(painter)
    paint_implant(painter)
    painter.canvas.paint(box, -body.skin, painter.looks["air"])  # what sticks out is cut off
    return body


def _fat_look(painter: Painter, body: Body) -> Look:
    """Fat: lobules parted by thin septa under the skin, small vessels and strands inside the pelvis."""
    space = painter.space
    lobules = 1 - ramp(np.abs(space.noise("lobules", 11.0)), 0.0, 0.35)
    # Two noises vanish together along curves: a net of small vessels.
    vessels = np.hypot(space.noise("vessels a", 17.0), space.noise("vessels b", 17.0))
    strands = np.maximum(ramp(vessels, 0.24, 0.08), ramp(space.noise("strands", (7.0, 7.0, 9.0)), 1.5, 2.5))
    deep = ramp(body.fascia, 0.0, -6.0)
    share = (1 - deep) * 0.09 * lobules + deep * (0.06 * lobules + 0.6 * strands)
    mixed = painter.mix("fat", "gut_wall", np.asarray(share, np.float32))
    shade = 1 + np.float32(0.05) * space.noise("fat shade", 30.0)
    return Look(np.asarray(mixed.mr * shade, np.float32), mixed.ct, mixed.tissue)


def _paint_genitals(painter: Painter) -> None:
    shift = painter.man.genital_shift_mm
    corners = [(-36.0, 0.0, -125.0), (36.0, 100.0, -50.0)]
    painter.part(corners, 8, lambda p: penis(p, shift) - 3, "bladder_wall", still=True)
    painter.part(corners, 8, lambda p: penis(p, shift), "corpora", still=True)
    for side in (LEFT, RIGHT):
        painter.part(corners, 8, lambda p: testis(p, shift[1]) - 1.5, "stroma", side=side, still=True)
        painter.part(corners, 8, lambda p: testis(p, shift[1]), "testis", side=side, still=True)


def _paint_muscles(painter: Painter, body: Body) -> None:
    space = painter.space
    muscles = build_muscles(space, body.fascia, painter.man)
    fascicles = space.noise("fascicles", (4.5, 4.5, 24.0))
    streaks = 1 - ramp(np.abs(space.noise("streaks", (13.0, 13.0, 45.0))), 0.0, 0.22)
    streaks = streaks * ramp(space.noise("streak places", 30.0), -0.3, 0.9)
    tone = space.streams("muscle tone").normal(0.0, 0.05, 256).astype(np.float32)[muscles.index]
    share = np.clip(
        0.05 * painter.man.muscle_fat * (1 + 0.8 * fascicles) + 0.32 * streaks * painter.man.muscle_fat,
        0,
        0.8,
    )
    look = painter.mix("muscle", "fat", np.asarray(share, np.float32))
    textured = Look(np.asarray(look.mr * (1 + tone + 0.06 * fascicles), np.float32), look.ct, look.tissue)
    painter.canvas.paint(whole(space), muscles.distance, textured)


def _paint_bowel(painter: Painter, body: Body, course: organs.Gut) -> None:
    man, space = painter.man, painter.space
    top = man.bladder_centre_mm[2] + man.bladder_radii_mm[2]
    loops = soft.bowel_courses(space.streams, top, man.bowel_share)
    rng = space.streams("bowel content")
    for line, radius in loops:
        share, gas = float(rng.uniform(0, 1)), man.bowel_gas * float(rng.beta(0.6, 1.4))
        first = str(rng.choice(("gut_fluid", "gut_fluid", "mucosa")))
        _paint_loop(painter, body, line, np.full(len(line), radius), (first, "stool", share), gas)
    sigmoid = soft.sigmoid_course(space.streams, course.points[-1])
    radii = np.linspace(course.radii[-1], rng.uniform(9, 17), len(sigmoid))
    _paint_loop(painter, body, sigmoid, radii, ("mucosa", "stool", float(rng.uniform(0.4, 1.2))), rng.uniform(0, 0.9))


def _paint_loop(
    painter: Painter,
    body: Body,
    line: np.ndarray,
    radii: np.ndarray,
    content: tuple[str, str, float],
    gas: float,
) -> None:
    space = painter.space
    box = space.box([tuple(q) for q in line], float(radii.max()))
    if box is None:
        return
    p = space.at(box)
    outer = tube(p, [tuple(q) for q in line], [float(r) for r in radii]) + 1.5 * space.noise("bowel wall", 20.0, box)
    outer = np.maximum(outer, body.fascia[box] + 14)
    painter.canvas.paint(box, outer, painter.looks["gut_wall"])
    first, second, share = content
    grain = np.clip(share + 0.3 * space.noise("chyme", 12.0, box), 0, 1)
    painter.canvas.paint(box, outer + 2.4, painter.mix(first, second, grain))
    bubbles = 7.0 * (1.6 - 2.4 * gas - space.noise("bubbles", 16.0, box) - 0.012 * (p[1] - 20))
    painter.canvas.paint(box, np.maximum(outer + 3, bubbles), painter.looks["gas"])


def _paint_lines(painter: Painter) -> None:
    rng = painter.space.streams("lines")
    for line in soft.LINES:
        for side in (LEFT, RIGHT):
            moved = soft.drawn_line(line, rng, painter.man.vessel)
            painter.part(moved.points, max(moved.radii), moved.distance, moved.tissue, side=side)


def _paint_corpora(painter: Painter) -> None:
    """Bulb of the penis and crura along the rami, each in its sheath."""
    size = painter.man.bulb
    for sheath, tissue in ((1.8, "stroma"), (0.0, "corpora")):

        def crus(p: Points, swell: float = sheath + 4 * (size - 1)) -> Array:
            return soft.CRUS.distance(p) - np.float32(swell)

        def middle(p: Points, swell: float = sheath) -> Array:
            return bulb(p, size) - np.float32(swell)

        for side in (LEFT, RIGHT):
            painter.part(soft.CRUS.points, 8, crus, tissue, side)
        painter.part([(0.0, 3.0, -60.0)], 26, middle, tissue)
