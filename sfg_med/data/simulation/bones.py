# SPDX-License-Identifier: Apache-2.0
"""Bones: hip bones with acetabulum, sacrum with coccyx, lumbar vertebrae, femora. Distances (mm) for lateral x."""

from __future__ import annotations

import numpy as np

from sfg_med.data.simulation.man import Man
from sfg_med.data.simulation.noise import Array
from sfg_med.data.simulation.shapes import (
    Points,
    ellipsoid,
    halfspace,
    plate,
    ramp,
    smooth_max,
    smooth_min,
    table,
    tube,
)

HIP_X = 88.0  # half the distance of the hip joints: 176 mm in men
JOINT_MM = 3.2  # cartilage between head and socket


def head(p: Points, man: Man) -> Array:
    """Distance to the spherical femoral head."""
    return ellipsoid(p, (HIP_X, 0, 0), man.head_radii_mm)


def femur_axis(man: Man) -> tuple[float, float, float]:
    """Where the axes of neck and shaft meet: offset, version and neck-shaft angle set it."""
    offset = man.femoral_offset_mm
    back = offset * np.tan(np.deg2rad(man.version_deg))
    return HIP_X + offset, float(2 - back), float(-offset * np.tan(np.deg2rad(man.neck_shaft_deg - 90)))


def trochanter(p: Points, man: Man) -> Array:
    """Distance to the greater trochanter."""
    x, y, z = axis = femur_axis(man)
    return tube(p, ((x + 8, y - 12, 4 + 0.1 * z), (x + 10, y - 5, -22), axis), (10, 15, 17))


def shaft_points(man: Man) -> tuple[tuple[float, float, float], ...]:
    """The axis of the femoral shaft, from the neck down past every field of view."""
    x, y, z = femur_axis(man)
    return (x, y, z), (x - 1, 0.3 * y - 1, min(z - 30, -78.0)), (x - 8, 3, -135), (x - 12, 6, -185)


def femur(p: Points, man: Man) -> Array:
    """Distance to the femur: head, neck, both trochanters, shaft."""
    x, y, z = axis = femur_axis(man)
    r = man.head_radius_mm
    middle = ((HIP_X + 0.6 * (x - HIP_X)), 0.55 * y, 0.55 * z)
    neck = tube(p, ((HIP_X, 0, 0), middle, axis), (0.70 * r, 0.62 * r, 0.78 * r))
    shaft = tube(p, shaft_points(man), (18, 16, 14.5, 14))
    lesser = ellipsoid(p, (x - 16, y - 14, z - 26), (9, 9, 14))
    bone = smooth_min(smooth_min(neck, trochanter(p, man), 10), smooth_min(shaft, lesser, 9), 10)
    return smooth_min(bone, head(p, man), 4)


def femur_cortex(p: Points, man: Man) -> Array:
    """Thickness (mm) of the femur's cortex: thin at the head, thick along the shaft."""
    return np.asarray(man.cortex * (1.3 + 4.6 * ramp(p[2], -35, -85)), np.float32)


def hip_bone(p: Points, man: Man) -> Array:
    """Distance to the hip bone: ilium, acetabulum, ischium, pubis."""
    bone = smooth_min(_ilium(p), _socket(p, man), 12)
    bone = smooth_min(bone, _ischium_pubis(p), 9)
    joint = np.asarray(head(p, man) - np.float32(JOINT_MM), np.float32)
    bone = smooth_max(bone, -joint, 2)
    return np.maximum(bone, np.float32(2.0) - p[0])  # half the width of the symphysis


def _ilium(p: Points) -> Array:
    """The wing: a bent sheet between a front edge and a back edge that depend on the height."""
    x, y, z = p
    front = table(z, (10, 30, 72, 100, 114, 126), (30, 40, 54, 36, 22, -10))
    back = table(z, (10, 25, 42, 58, 75, 100, 116, 126), (-34, -34, -42, -66, -84, -78, -58, -28))
    middle = (front + back) / 2
    half = (front - back) / 2
    slope = table(z, (10, 40, 70, 110), (0.22, 0.42, 0.59, 0.68))
    x0 = table(z, (10, 40, 70, 110), (88, 93, 99, 106))
    s = (y - middle) / half
    sheet = x - (x0 + slope * y + 8 * (1 - s * s) * ramp(z, 25, 75) - 5 * s * (1 - s * s))
    behind = ramp(s, -0.25, -0.8) * ramp(z, 40, 60)
    thick = 4.3 + 4.0 * ramp(s, 0.5, 0.95) + 6.5 * behind + 7.0 * ramp(z, 46, 18)
    edge = 0.85 * thick
    steep = np.sqrt(1 + slope * slope)
    q0 = np.abs(sheet) / steep - thick + edge
    q1 = (np.abs(y - middle) - half) * steep + edge
    q2 = np.maximum(14 - z, z - 123)
    top = np.maximum(np.maximum(q0, q1), q2)
    out = np.sqrt(np.clip(q0, 0, None) ** 2 + np.clip(q1, 0, None) ** 2 + np.clip(q2, 0, None) ** 2)
    return np.asarray(out + np.minimum(top, 0) - edge, np.float32)


def _socket(p: Points, man: Man) -> Array:
    r = man.head_radius_mm
    centre = (HIP_X, 0, 0)
    shell = ellipsoid(p, (HIP_X - 2, -1, 2), (r + 9.5, r + 11, r + 12))
    rim = halfspace(p, centre, (0.72, 0.28, -0.62)) - 7
    notch = -tube(p, ((HIP_X, 5, -4), (HIP_X - 20, 8, -34)), (8, 11))  # the acetabular notch opens downward
    return smooth_max(smooth_max(shell, rim, 5), notch, 4)


def _ischium_pubis(p: Points) -> Array:
    column = tube(p, ((76, -27, 12), (70, -33, -22), (60, -38, -50), (56, -36, -66)), (14, 12.5, 14, 13.5))
    ramus = tube(p, ((54, -30, -66), (34, 8, -58), (15, 33, -42)), (8.5, 6.0, 7.5))
    upper = tube(p, ((70, 25, 4), (46, 44, 0), (20, 50, -10)), (11.5, 8.5, 9.5))
    corpus = plate(p, ((8, 51, -9), (25, 49, -6), (20, 40, -34), (8, 38, -36)), 8.5)
    front = tube(p, ((76, -16, -14), (66, -24, -45), (58, -24, -64)), (9, 8.5, 9))
    column = smooth_min(column, front, 8)
    spine = tube(p, ((60, -38, 4), (50, -46, -4)), (8, 4))
    pubis = smooth_min(smooth_min(upper, corpus, 6), ramus, 6)
    return smooth_min(smooth_min(column, spine, 6), pubis, 6)


def hip_cortex(p: Points, man: Man) -> Array:
    """Thickness (mm) of the hip bone's cortex: thicker at the roof of the socket and the inner brim."""
    roof = ramp(ellipsoid(p, (HIP_X, 0, 6), (32, 32, 32)), 14, 0)
    return np.asarray(man.cortex * (1.5 + 1.0 * roof + 0.5 * ramp(p[2], 20, 60)), np.float32)


_SACRUM_Z = (-24, -12, 0, 15, 35, 55, 80, 105, 118)
_SACRUM_Y = (-54, -68, -78, -87, -90, -84, -67, -43, -30)
_SACRUM_WIDE = (5, 7, 9, 16, 27, 40, 50, 55, 54)
_SACRUM_THICK = (4.5, 5, 6, 8, 10, 12.5, 16, 21, 23)


def sacrum_front_mm(height_mm: float) -> float:
    """y of the front of sacrum and coccyx in the midline."""
    return float(np.interp(height_mm, _SACRUM_Z, np.add(_SACRUM_Y, _SACRUM_THICK)))


def sacrum(p: Points) -> Array:
    """Distance to sacrum and coccyx; symmetric in x."""
    x, y, z = p
    centre, wide = table(z, _SACRUM_Z, _SACRUM_Y), table(z, _SACRUM_Z, _SACRUM_WIDE)
    thick = table(z, _SACRUM_Z, _SACRUM_THICK)
    lean = table(z, _SACRUM_Z, (0.62, 0.72, 0.86, 0.97, 1.0, 0.90, 0.76, 0.72, 0.72))
    side = np.abs(x) / wide
    forward = y - centre - 6 * side * side * ramp(z, 20, 60) + 3
    q0 = np.abs(x) - wide - 0.35 * np.clip(forward, -20, 20) + 5  # the joint with the ilium runs obliquely
    q1 = np.abs(forward) * lean - thick * (1 - 0.25 * np.clip(side, 0, 1)) + 4
    q2 = np.abs(z - 46) - 70
    out = np.sqrt(np.clip(q0, 0, None) ** 2 + np.clip(q1, 0, None) ** 2 + np.clip(q2, 0, None) ** 2)
    bone = out + np.minimum(np.maximum(np.maximum(q0, q1), q2), 0) - 4
    crest = tube(p, ((0, -99, 30), (0, -98, 55), (0, -90, 85)), (4, 5.5, 6))
    return smooth_min(np.asarray(bone, np.float32), crest, 6)


def sacral_canal(p: Points) -> Array:
    """Distance to the sacral and lumbar canal with its nerve roots and cerebrospinal fluid."""
    points = ((0, -92, 42), (0, -82, 72), (0, -61, 100), (0, -48, 122), (0, -44, 145), (0, -38, 195))
    return tube(p, points, (2.5, 5, 7.5, 9, 9.5, 9.5))


def sacral_foramina(p: Points) -> Array:
    """Distance to the four pairs of foramina: short oblique channels full of fat and nerve; x lateral."""
    channels = [
        tube(p, ((14, y + 22, z + 5), (20, y - 18, z - 3)), (r, r))
        for y, z, r in ((-86, 33, 3.0), (-84, 50, 3.8), (-72, 71, 4.5), (-55, 92, 5.0))
    ]
    return np.minimum.reduce(channels)


# Lumbar vertebrae L5 and L4: centre (y, z) of the body and lean of its axis.
VERTEBRAE = ((-20.0, 139.0, 0.22), (-12.0, 174.0, 0.08))


def vertebra(p: Points, y_mm: float, z_mm: float, lean: float) -> Array:
    """Distance to a lumbar vertebra: waisted body, pedicles, arch and processes; symmetric in x."""
    u = p[1] - np.float32(y_mm) + np.float32(lean) * (p[2] - np.float32(z_mm))
    v = p[2] - np.float32(z_mm) - np.float32(lean) * (p[1] - np.float32(y_mm))
    waist = 1 + np.float32(0.08) * np.clip((v / 13) ** 2, 0, 1)
    round_ = (np.sqrt((p[0] / np.float32(25)) ** 2 + (u / np.float32(17.5)) ** 2) - waist) * 19
    body = smooth_max(np.asarray(round_, np.float32), np.asarray(np.abs(v) - 14, np.float32), 4)
    q = (np.abs(p[0]), u, v)
    arch = tube(q, ((17, -12, 4), (17, -34, 0), (3, -46, -6)), (5, 6.5, 4.5))
    process = tube(q, ((0, -45, -6), (0, -66, -10)), (4, 5))
    wing = tube(q, ((18, -20, 2), (42, -24, 4)), (5, 4))
    return smooth_min(body, smooth_min(smooth_min(arch, process, 5), wing, 5), 5)


def disc(p: Points, z_mm: float, y_mm: float, half_mm: float, lean: float) -> Array:
    """Distance to a disc (or its remnant) that lies across the leaning sacrum or spine."""
    normal = (0.0, lean, 0.87)
    flat = np.abs(halfspace(p, (0, y_mm, z_mm), normal)) - np.float32(half_mm)
    return np.maximum(flat, ellipsoid(p, (0, y_mm, z_mm), (27, 19, 19)))
