# SPDX-License-Identifier: Apache-2.0
"""Signed distances (mm, negative inside) of a few primitives, after Inigo Quilez, "Distance functions"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Points = tuple[Array, Array, Array]
Point = Sequence[float]


def ellipsoid(p: Points, centre: Point, radii: Point) -> Array:
    """First-order distance to an ellipsoid; exact for a sphere."""
    q = [(a - np.float32(c)) / np.float32(r) for a, c, r in zip(p, centre, radii, strict=True)]
    k0 = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    k1 = np.sqrt(sum((a / np.float32(r)) ** 2 for a, r in zip(q, radii, strict=True)))
    return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6))


def segment(p: Points, a: Point, b: Point, radius_a: float, radius_b: float) -> Array:
    """Distance to a cone-like rod from ``a`` to ``b`` with round ends."""
    ab = [float(v - u) for u, v in zip(a, b, strict=True)]
    length2 = max(sum(c * c for c in ab), 1e-6)
    q = [c - np.float32(u) for c, u in zip(p, a, strict=True)]
    t = q[0] * np.float32(ab[0] / length2)
    for c, d in zip(q[1:], ab[1:], strict=True):
        t += c * np.float32(d / length2)
    np.clip(t, 0, 1, out=t)
    r = np.zeros_like(t)
    for c, d in zip(q, ab, strict=True):
        c -= t * np.float32(d)
        c *= c
        r += c
    np.sqrt(r, out=r)
    r -= np.float32(radius_a)
    if radius_a != radius_b:
        r -= t * np.float32(radius_b - radius_a)
    return np.asarray(r, np.float32)


def tube(p: Points, points: Sequence[Point], radii: Sequence[float]) -> Array:
    """Distance to a chain of rods through ``points`` with one radius at each."""
    result = segment(p, points[0], points[1], radii[0], radii[1])
    for i in range(1, len(points) - 1):
        np.minimum(result, segment(p, points[i], points[i + 1], radii[i], radii[i + 1]), out=result)
    return result


def plate(p: Points, corners: Sequence[Point], radius: float) -> Array:
    """Distance to a triangle (three corners) or folded quadrilateral (four) thickened by ``radius``."""
    result = _triangle(p, corners[:3])
    if len(corners) == 4:
        result = np.minimum(result, _triangle(p, (corners[0], corners[2], corners[3])))
    return result - np.float32(radius)


def _triangle(p: Points, corners: Sequence[Point]) -> Array:
    vertices = [np.asarray(c, float) for c in corners]
    normal = np.cross(vertices[1] - vertices[0], vertices[2] - vertices[0])
    normal /= np.linalg.norm(normal)
    inside: NDArray[np.bool_] | bool = True
    for a, b in zip(vertices, [*vertices[1:], vertices[0]], strict=True):
        inward = np.cross(normal, b - a)
        inside = inside & (_along(p, a, inward) >= 0)
    edges = [
        segment(p, a.tolist(), b.tolist(), 0, 0) for a, b in zip(vertices, [*vertices[1:], vertices[0]], strict=True)
    ]
    rim = np.minimum(np.minimum(edges[0], edges[1]), edges[2])
    return np.where(inside, np.abs(_along(p, vertices[0], normal)), rim)


def _along(p: Points, origin: NDArray[np.float64], direction: NDArray[np.float64]) -> Array:
    terms = [(c - np.float32(o)) * np.float32(d) for c, o, d in zip(p, origin, direction, strict=True)]
    return np.asarray(terms[0] + terms[1] + terms[2], np.float32)


def halfspace(p: Points, origin: Point, outward: Point) -> Array:
    """Distance to a plane through ``origin``; positive on the side that ``outward`` points to."""
    n = np.asarray(outward, float)
    return _along(p, np.asarray(origin, float), n / np.linalg.norm(n))


def smooth_min(a: Array, b: Array, width_mm: float) -> Array:
    """Union of two shapes whose seam is rounded over ``width_mm`` (polynomial smooth minimum)."""
    h = np.clip(np.float32(width_mm) - np.abs(a - b), 0, None)
    return np.asarray(np.minimum(a, b) - h * h * np.float32(0.25 / width_mm), np.float32)


def smooth_max(a: Array, b: Array, width_mm: float) -> Array:
    """Intersection of two shapes with a rounded seam."""
    return -smooth_min(-a, -b, width_mm)


def ramp(value: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high`` (which may be smaller than ``low``), a smooth cubic between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def table(value: Array, at: Sequence[float], values: Sequence[float]) -> Array:
    """Smooth curve through few (position, value) pairs; positions ascend, the ends are held."""
    from scipy.interpolate import PchipInterpolator

    fine = np.union1d(np.linspace(at[0], at[-1], 400), at)  # straight between: an error far below a voxel
    return np.interp(value, fine, PchipInterpolator(at, values)(fine)).astype(np.float32)
