# SPDX-License-Identifier: Apache-2.0
"""Signed distances against brute force over sampled surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from sfg_med.data.simulation import shapes

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(-30, 30, (500, 3)).astype(np.float32)
P = (POINTS[:, 0], POINTS[:, 1], POINTS[:, 2])


def test_sphere_is_exact() -> None:
    expected = np.linalg.norm(POINTS - (1, 2, 3), axis=1) - 7
    np.testing.assert_allclose(shapes.ellipsoid(P, (1, 2, 3), (7, 7, 7)), expected, atol=1e-4)


def test_ellipsoid_has_the_right_sign_and_is_close_to_the_surface_distance() -> None:
    radii = np.array([20.0, 14.0, 17.0])
    distance = shapes.ellipsoid(P, (0, 0, 0), radii)
    np.testing.assert_array_equal(distance < 0, ((POINTS / radii) ** 2).sum(axis=1) < 1)
    sphere = RNG.normal(size=(200_000, 3))
    surface = sphere / np.linalg.norm(sphere, axis=1, keepdims=True) * radii
    true = cKDTree(surface).query(POINTS)[0]
    near = true < 4
    np.testing.assert_allclose(np.abs(distance)[near], true[near], atol=0.8)


def test_rod_with_one_radius_is_exact() -> None:
    a, b = np.array([-10.0, 3, 2]), np.array([12.0, -8, 9])
    t = np.linspace(0, 1, 20_001)[:, None]
    true = cKDTree(a + t * (b - a)).query(POINTS)[0] - 4
    np.testing.assert_allclose(shapes.segment(P, a, b, 4, 4), true, atol=2e-3)


def test_tube_takes_the_nearest_piece() -> None:
    nodes = [(-10, 0, 0), (0, 8, 2), (9, 1, -4)]
    pieces = [shapes.segment(P, nodes[i], nodes[i + 1], 3, 3) for i in range(2)]
    np.testing.assert_allclose(shapes.tube(P, nodes, [3, 3, 3]), np.minimum(*pieces))


@pytest.mark.parametrize("corners", [3, 4])
def test_plate_is_the_distance_to_a_triangle_or_folded_quadrilateral(corners: int) -> None:
    nodes = np.array([(-15.0, -10, 0), (14, -12, 6), (10, 15, -4), (-12, 9, 10)])[:corners]
    u = np.linspace(0, 1, 301)
    s, t = (g.ravel()[:, None] for g in np.meshgrid(u, u))
    s, t = s[s + t <= 1][:, None], t[s + t <= 1][:, None]
    faces = [nodes[:3]] if corners == 3 else [nodes[:3], nodes[[0, 2, 3]]]
    surface = np.concatenate([f[0] + s * (f[1] - f[0]) + t * (f[2] - f[0]) for f in faces])
    true = cKDTree(surface).query(POINTS)[0] - 2
    np.testing.assert_allclose(shapes.plate(P, nodes.tolist(), 2.0), true, atol=0.05)


def test_smooth_union_is_below_both_by_a_quarter_of_its_width_at_most() -> None:
    a, b = P[0], P[1]
    union = shapes.smooth_min(a, b, 6.0)
    assert (union <= np.minimum(a, b) + 1e-5).all()
    assert (union >= np.minimum(a, b) - 6.0 / 4 - 1e-5).all()
    far = np.abs(a - b) > 6
    np.testing.assert_array_equal(union[far], np.minimum(a, b)[far])
    np.testing.assert_allclose(shapes.smooth_max(a, b, 6.0), -shapes.smooth_min(-a, -b, 6.0))


def test_ramp_runs_both_ways() -> None:
    x = np.array([-5.0, 0, 5, 10, 15], np.float32)
    np.testing.assert_allclose(shapes.ramp(x, 0, 10), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(shapes.ramp(x, 10, 0), [1, 1, 0.5, 0, 0])


def test_table_passes_through_its_points_and_holds_its_ends() -> None:
    values = shapes.table(np.array([-9.0, 0, 4, 10, 99], np.float32), (0, 4, 10), (1, 3, 2))
    np.testing.assert_allclose(values, [1, 1, 3, 2, 2])


def test_halfspace_is_positive_outward() -> None:
    distance = shapes.halfspace(P, (0, 0, 5), (0, 0, 2))
    np.testing.assert_allclose(distance, POINTS[:, 2] - 5, atol=1e-5)
