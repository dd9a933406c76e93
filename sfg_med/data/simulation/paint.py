# SPDX-License-Identifier: Apache-2.0
"""Paint a man part by part, from the skin inward: the order decides who lies over whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sfg_med.data.simulation import bones, organs, soft
from sfg_med.data.simulation.body import Body, penis, testis
from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.muscles import build_muscles
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.shapes import Points, ramp, tube
from sfg_med.data.simulation.space import Box, Canvas, Look, Space, whole
from sfg_med.spec import PELVIS_LABELS

_RIGHT, _LEFT = 1, -1


@dataclass
class Painter:
    """Everything that the steps below share.

    Args:
        space: the man's coordinates.
        man: his parameters.
        canvas: MR, CT and labels so far.
        looks: uniform MR signal and CT number of each tissue.
    """

    space: Space
    man: Man
    canvas: Canvas
    looks: dict[str, Look]

    def part(
        self,
        corners: list[tuple[float, float, float]],
        reach_mm: float,
        shape: Callable[[Points], Array],
        look: str | Look,
        label: int = 0,
        side: int = _RIGHT,
    ) -> tuple[Box, Array] | None:
        """Paint a part whose bounding box is known; return box and distance, or None if outside the grid."""
        box = self.space.box(corners, reach_mm, side)
        if box is None:
            return None
        distance = shape(self.space.at(box, side))
        self.canvas.paint(box, distance, self.looks[look] if isinstance(look, str) else look, label)
        return box, distance

    def mix(self, first: str, second: str, share: Array | float) -> Look:
        """Look of a mixture with volume share ``share`` of the second tissue."""
        a, b = self.looks[first], self.looks[second]
        return Look(a.mr + (b.mr - a.mr) * share, a.ct + (b.ct - a.ct) * share)


def paint_man(painter: Painter) -> Body:
    """Paint the whole man and return his outline."""
    body = Body(painter.space, painter.man)
    box = whole(painter.space)
    painter.canvas.paint(box, body.skin, painter.looks["skin"])
    painter.canvas.paint(box, body.skin + np.float32(1.8), _fat_look(painter, body))
    _paint_genitals(painter)
    _paint_muscles(painter, body)
    course = organs.rectum_course(painter.man, painter.space.streams)
    _paint_bowel(painter, body, course)
    _paint_lines(painter)
    _paint_vesicles(painter)
    _paint_bladder(painter)
    _paint_prostate(painter)
    _paint_rectum(painter, course)
    _paint_bones(painter)
    painter.canvas.paint(box, -body.skin, painter.looks["air"])  # what sticks out is cut off
    return body


def _fat_look(painter: Painter, body: Body) -> Look:
    """Fat: lobules parted by thin septa under the skin, small vessels and strands inside the pelvis."""
    space, fat = painter.space, painter.looks["fat"]
    lobules = 1 - ramp(np.abs(space.noise("lobules", 11.0)), 0.0, 0.35)
    # Two noises vanish together along curves: a net of small vessels.
    vessels = np.hypot(space.noise("vessels a", 17.0), space.noise("vessels b", 17.0))
    strands = np.maximum(ramp(vessels, 0.24, 0.08), ramp(space.noise("strands", (7.0, 7.0, 9.0)), 1.5, 2.5))
    deep = ramp(body.fascia, 0.0, -6.0)
    share = (1 - deep) * 0.09 * lobules + deep * (0.06 * lobules + 0.6 * strands)
    mixed = painter.mix("fat", "gut_wall", np.asarray(share, np.float32))
    shade = 1 + np.float32(0.05) * space.noise("fat shade", 30.0)
    return Look(np.asarray(mixed.mr * shade, np.float32), np.asarray(mixed.ct + 0.0 * fat.ct, np.float32))


def _paint_genitals(painter: Painter) -> None:
    shift = painter.man.genital_shift_mm
    corners = [(-36.0, 0.0, -125.0), (36.0, 100.0, -50.0)]
    painter.part(corners, 8, lambda p: penis(p, shift) - 3, "bladder_wall")
    painter.part(corners, 8, lambda p: penis(p, shift), "corpora")
    for side in (_LEFT, _RIGHT):
        painter.part(corners, 8, lambda p: testis(p, shift[1]) - 1.5, "stroma", side=side)
        painter.part(corners, 8, lambda p: testis(p, shift[1]), "testis", side=side)


def _paint_muscles(painter: Painter, body: Body) -> None:
    space = painter.space
    muscles = build_muscles(space, body.fascia, painter.man.muscle_fat, painter.man.muscle_mm)
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
    textured = Look(np.asarray(look.mr * (1 + tone + 0.06 * fascicles), np.float32), look.ct)
    painter.canvas.paint(whole(space), muscles.distance, textured)


def _paint_bowel(painter: Painter, body: Body, course: organs.Gut) -> None:
    man, space = painter.man, painter.space
    top = man.bladder_centre_mm[2] + man.bladder_radii_mm[2]
    loops = soft.bowel_courses(space.streams, top)
    rng = space.streams("bowel content")
    for line, radius in loops:
        share = float(rng.uniform(0, 1))
        _paint_loop(painter, body, line, np.full(len(line), radius), ("gut_fluid", "stool", share), gas=0.15)
    sigmoid = soft.sigmoid_course(space.streams, course.points[-1])
    _paint_loop(
        painter, body, sigmoid, np.linspace(course.radii[-1], 13, len(sigmoid)), ("stool", "stool", 1.0), 0.5
    )


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
    outer = tube(p, [tuple(q) for q in line], [float(r) for r in radii]) + 1.5 * space.noise(
        "bowel wall", 20.0, box
    )
    outer = np.maximum(outer, body.fascia[box] + 14)
    painter.canvas.paint(box, outer, painter.looks["gut_wall"])
    first, second, share = content
    grain = np.clip(share + 0.3 * space.noise("chyme", 12.0, box), 0, 1)
    painter.canvas.paint(box, outer + 2.4, _spread(painter.mix(first, second, grain), box, space.shape))
    bubbles = 7.0 * (1.6 - 2.4 * gas - space.noise("bubbles", 16.0, box) - 0.012 * (p[1] - 20))
    painter.canvas.paint(box, np.maximum(outer + 3, bubbles), painter.looks["gas"])


def _spread(look: Look, box: Box, shape: tuple[int, ...]) -> Look:
    """Spread a look that was computed on a box over the whole grid, as the canvas expects."""
    images = []
    for value in (look.mr, look.ct):
        full = np.zeros(shape, np.float32)
        full[box] = value
        images.append(full)
    return Look(images[0], images[1])


def _paint_lines(painter: Painter) -> None:
    jitter = painter.space.streams("lines")
    for line in soft.LINES:
        for side in (_LEFT, _RIGHT):
            shift = jitter.normal(0, 1.5, 3)
            moved = soft.Line(line.tissue, tuple(tuple(np.add(q, shift)) for q in line.points), line.radii)
            corners = [tuple(float(v) for v in q) for q in moved.points]
            painter.part(corners, max(line.radii), moved.distance, line.tissue, side=side)  # type: ignore[arg-type]


def _paint_bladder(painter: Painter) -> None:
    man, space = painter.man, painter.space
    centre, radii = np.array(man.bladder_centre_mm), np.array(man.bladder_radii_mm)
    box = space.box([centre - radii, centre + radii], 6)
    if box is None:
        return
    outer = organs.bladder(space.at(box), man) + 2.8 * space.noise("bladder", 32.0, box)
    painter.canvas.paint(box, outer, painter.looks["bladder_wall"], PELVIS_LABELS["bladder"])
    wall = organs.bladder_wall_mm(man) * (1 + 0.2 * space.noise("bladder wall", 25.0, box))
    painter.canvas.paint(box, outer + wall, painter.looks["urine"], PELVIS_LABELS["bladder"])


def _paint_vesicles(painter: Painter) -> None:
    man, space = painter.man, painter.space
    _, y, z = man.prostate_centre_mm
    for side in (_LEFT, _RIGHT):
        box = space.box([(0.0, y - 45, z), (42.0, y, z + 50)], 6, side)
        if box is not None:
            vesicle = organs.seminal_vesicle(space.at(box, side), man) + 1.4 * space.noise(
                "vesicle", 7.0, box
            )
            painter.canvas.paint(box, vesicle, painter.looks["stroma"])
            painter.canvas.paint(box, vesicle + 1.3, painter.looks["seminal_vesicle"])


def _paint_prostate(painter: Painter) -> None:
    man, space, label = painter.man, painter.space, PELVIS_LABELS["prostate"]
    centre, radii = np.array(man.prostate_centre_mm), np.array(man.prostate_radii_mm)
    box = space.box([centre - radii, centre + radii], 26)
    if box is None:
        return
    p, paint = space.at(box), painter.canvas.paint
    gland = organs.prostate(p, man) + 1.0 * space.noise("prostate", 20.0, box)
    paint(box, gland, painter.looks["stroma"], label)
    speckle = np.clip(0.25 + 0.25 * space.noise("peripheral zone", 6.0, box), 0, 0.8)
    paint(
        box,
        gland + 1.0,
        _spread(painter.mix("peripheral_zone", "transition_zone", speckle), box, space.shape),
        label,
    )
    inner = np.maximum(organs.transition_zone(p, man), gland + 1.5)
    paint(box, inner, painter.looks["stroma"], label)
    nodules = np.clip(0.42 + 0.45 * space.noise("nodules", 8.0, box), 0, 1)
    paint(
        box, inner + 1.1, _spread(painter.mix("stroma", "peripheral_zone", nodules), box, space.shape), label
    )
    paint(box, np.maximum(organs.front_stroma(p, man), gland), painter.looks["stroma"], label)
    tube_ = organs.urethra(p, man)
    paint(box, np.maximum(tube_, gland), painter.looks["mucosa"], label)
    paint(box, np.maximum(np.maximum(tube_, -gland), p[2] - centre[2]), painter.looks["mucosa"])


def _paint_rectum(painter: Painter, course: organs.Gut) -> None:
    man, space, label = painter.man, painter.space, PELVIS_LABELS["rectum"]
    corners = [tuple(float(v) for v in q) for q in course.points] + [(0.0, -70.0, -90.0)]
    box = space.box(corners, float(course.radii.max()))
    if box is None:
        return
    p, paint = space.at(box), painter.canvas.paint
    canal = organs.anal_canal(p, course)
    paint(box, canal, painter.looks["muscle"])
    paint(box, canal + 7.5, painter.looks["mucosa"])
    outer = course.distance(p) + 1.2 * space.noise("rectum", 22.0, box)
    outer = np.maximum(outer, p[2] - organs.RECTUM_TOP_MM)
    paint(box, outer, painter.looks["gut_wall"], label)
    paint(box, outer + 2.4, painter.looks["mucosa"], label)
    lumen = outer + 3.6
    grain = np.clip(man.stool + 0.35 * space.noise("stool", 7.0, box), 0, 1)
    paint(box, lumen, _spread(painter.mix("mucosa", "stool", grain), box, space.shape), label)
    radius = np.float32(man.ampulla_mm)
    level = (np.float32(man.rectal_gas) - course.height(p)) * radius + 3.0 * space.noise("gas", 12.0, box)
    paint(box, np.maximum(lumen, level), painter.looks["gas"], label)


def _paint_bones(painter: Painter) -> None:
    man, space = painter.man, painter.space
    yellow = man.yellow + 0.10 * space.noise("marrow", 30.0) + 0.13 * space.noise("trabeculae", 6.0)
    yellow = np.clip(yellow, 0, 1)
    rough = np.float32(1.0) * space.noise("bone surface", 15.0)
    for side, name in ((_LEFT, "femoral_head_left"), (_RIGHT, "femoral_head_right")):
        box = space.box([(0.0, -90.0, -85.0), (145.0, 65.0, 140.0)], 4, side)
        if box is not None:
            p = space.at(box, side)
            distance = bones.hip_bone(p, man) + rough[box] * ramp(bones.head(p, man), 4, 12)
            painter.canvas.paint(box, distance, painter.looks["cortical_bone"])
            inner = distance + bones.hip_cortex(p, man)
            painter.canvas.paint(box, inner, _marrow(painter, yellow, 0.75))
        _paint_femur(painter, yellow, rough, side, PELVIS_LABELS[name])
    _paint_sacrum(painter, yellow, rough)
    painter.part(
        [(-3.0, 30.0, -45.0), (3.0, 58.0, -2.0)],
        4,
        lambda p: np.maximum(np.abs(p[0]) - 2.2, tube(p, ((0, 50, -12), (0, 39, -34)), (9, 8.5))),
        "cartilage",
    )


def _paint_femur(painter: Painter, yellow: Array, rough: Array, side: int, label: int) -> None:
    man, space = painter.man, painter.space
    joint = [(bones.HIP_X, 0.0, 0.0)]
    r = man.head_radius_mm
    capsule = [(bones.HIP_X, 0.0, 0.0), (bones.HIP_X + 24.0, -8.0, -20.0)]
    painter.part(
        joint,
        r + 6,
        lambda p: np.maximum(bones.head(p, man) - bones.JOINT_MM, p[0] - 104),
        "cartilage",
        side=side,
    )
    box = space.box([*capsule, (bones.HIP_X + 60.0, 10.0, -140.0), (bones.HIP_X, -55.0, 10.0)], r, side)
    if box is None:
        return
    p, paint = space.at(box, side), painter.canvas.paint
    ball = bones.head(p, man)
    outer = bones.femur(p, man) + rough[box] * ramp(ball, 0, 10)
    cortex = bones.femur_cortex(p, man)
    paint(box, outer, painter.looks["cortical_bone"])
    dense = np.zeros(space.shape, np.float32)
    dense[box] = (0.75 + 0.7 * ramp(ball, 6, -12)) * (1 - 0.95 * ramp(p[2], -25, -85))
    paint(box, outer + cortex, _marrow(painter, np.clip(yellow + 0.2, 0, 1), dense))
    painter.canvas.label[box][ball < 0] = label


def _marrow(painter: Painter, yellow: Array, dense: Array | float) -> Look:
    """Marrow: the more yellow (fatty), the brighter on MR and the less dense on CT.

    Args:
        painter: the shared state.
        yellow: share of yellow marrow, on the whole grid.
        dense: density of the trabeculae relative to the man's own.
    """
    man, space = painter.man, painter.space
    mixed = painter.mix("red_marrow", "yellow_marrow", yellow)
    grain = (1.35 - 0.6 * yellow) * (1 + 0.18 * space.noise("trabecular bone", 5.0))
    bone = np.asarray(man.trabecular_hu * dense * grain, np.float32)
    # Trabeculae take the place of marrow: no signal of their own.
    return Look(mixed.mr * (1 - np.clip(bone, 0, 600) / 2000), mixed.ct + bone)


def _paint_sacrum(painter: Painter, yellow: Array, rough: Array) -> None:
    space, man = painter.space, painter.man
    corners = [(-55.0, -108.0, -26.0), (55.0, -20.0, 120.0)]
    box = space.box(corners, 4)
    if box is None:
        return
    p, paint = space.at(box), painter.canvas.paint
    distance = bones.sacrum(p) + 1.5 * rough[box]
    paint(box, distance, painter.looks["cortical_bone"])
    paint(box, distance + np.float32(1.5 * man.cortex), _marrow(painter, yellow, 0.55))
    both = (np.abs(p[0]), p[1], p[2])
    paint(box, np.maximum(bones.sacral_foramina(both), distance), painter.looks["fat"])
    canal = np.maximum(bones.sacral_canal(p), distance + 1.5)
    paint(box, canal, painter.looks["fat"])
    paint(box, canal + 2.0, painter.looks["csf"])
    for height, depth, half in ((118.0, -26.0, 5.0), (86.0, -55.0, 1.4), (62.0, -76.0, 0.8)):
        slab = bones.disc(p, height, depth, half)
        paint(box, slab if height > 110 else np.maximum(slab, distance + 3), painter.looks["cartilage"])
