# SPDX-License-Identifier: Apache-2.0
"""Paint bones, their marrow and joints, and the labels of the femoral heads."""

from __future__ import annotations

import numpy as np

from sfg_med.data.simulation import bones
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.painter import LEFT, RIGHT, Painter
from sfg_med.data.simulation.shapes import ramp, tube
from sfg_med.data.simulation.space import Look
from sfg_med.spec import PELVIS_LABELS


def paint_bones(painter: Painter) -> None:
    """Hip bones, femora, sacrum and symphysis."""
    man, space = painter.man, painter.space
    yellow = man.yellow + 0.10 * space.noise("marrow", 30.0) + 0.13 * space.noise("trabeculae", 6.0)
    yellow = np.clip(yellow, 0, 1)
    rough = np.float32(1.0) * space.noise("bone surface", 15.0)
    for side, name in ((LEFT, "femoral_head_left"), (RIGHT, "femoral_head_right")):
        box = space.box([(0.0, -92.0, -85.0), (148.0, 65.0, 126.0)], 4, side)
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
        still=True,
    )
    x, y, _ = bones.femur_axis(man)
    corners = [*capsule, (x + 12.0, 10.0, -185.0), (bones.HIP_X, y - 14.0, 10.0)]
    box = space.box(corners, r, side, still=True)
    if box is None:
        return
    p, paint = space.at(box, side, still=True), painter.canvas.paint
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
    return Look(mixed.mr * (1 - np.clip(bone, 0, 600) / 2000), mixed.ct + bone, mixed.tissue)


def _paint_sacrum(painter: Painter, yellow: Array, rough: Array) -> None:
    space, man = painter.space, painter.man
    corners = [(-60.0, -110.0, -26.0), (60.0, 0.0, 200.0)]
    box = space.box(corners, 4)
    if box is None:
        return
    p, paint = space.at(box), painter.canvas.paint
    distance = bones.sacrum(p) + 1.5 * rough[box]
    paint(box, distance, painter.looks["cortical_bone"])
    marrow = _marrow(painter, yellow, 0.55)
    paint(box, distance + np.float32(1.5 * man.cortex), marrow)
    for y, z, lean in bones.VERTEBRAE:
        bone = bones.vertebra(p, y, z, lean) + np.float32(0.7) * rough[box]
        paint(box, bone, painter.looks["cortical_bone"])
        paint(box, bone + np.float32(1.3 * man.cortex), marrow)
        distance = np.minimum(distance, bone)
    both = (np.abs(p[0]), p[1], p[2])
    paint(box, np.maximum(bones.sacral_foramina(both), distance), painter.looks["fat"])
    canal = bones.sacral_canal(p)
    canal = np.where(p[2] > 112, canal, np.maximum(canal, distance + 1.5))
    paint(box, canal, painter.looks["fat"])
    paint(box, canal + 2.0, painter.looks["csf"])
    for height, depth, half in ((156.5, -15.0, 3.8), (121.5, -25.0, 4.2), (86.0, -55.0, 1.4), (62.0, -76.0, 0.8)):
        slab = bones.disc(p, height, depth, half, 0.15 if height > 150 else 0.5)
        paint(box, slab if height > 110 else np.maximum(slab, distance + 3), painter.looks["cartilage"])
