# SPDX-License-Identifier: Apache-2.0
"""Figures of what was learned say what the numbers say."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from sfg_med.report import charts
from sfg_med.report.sharing_files import Trajectories
from sfg_med.report.sharing_maps import entropy_map, kernel_maps, sorted_kernels
from sfg_med.report.sharing_page import certainty, level_sizes, undecided
from sfg_med.report.sharing_shares import ink_on, share_columns, share_panels
from sfg_med.report.sharing_simplex import (
    CORNERS,
    density,
    lattice,
    simplex_densities,
    simplex_trajectories,
    to_plane,
)
from sfg_med.report.sharing_unet import u_blocks, u_figure

GROUPS = ("ct", "ct+seg", "seg")
U_NET = [f"down {i}, conv {j}" for i in (1, 2, 3) for j in (1, 2)]
U_NET += [f"up {i}, {what}" for i in (1, 2) for what in ("reduce", "conv 1", "conv 2")]

# Machado, Oliveira and Fernandes 2009, severity 1.0, in linear RGB
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    "normal": np.eye(3),
}


def random_p(kernels, groups=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(groups, 0.4), kernels)


def boxes(svg, colours):
    """Width and height of the filled rectangles of each colour, in the order of drawing."""
    found = {colour: [] for colour in colours}
    for path in ET.fromstring(svg.replace("xlink:", "")).iter("path"):
        for colour in colours:
            if f"fill: {colour}" in path.get("style", "") and "clip-path" in path.attrib:
                points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d")), dtype=float)
                found[colour].append(np.ptp(points, axis=0))
    return {colour: np.array(sizes) for colour, sizes in found.items()}


def words(svg):
    return [text.strip() for text in ET.fromstring(svg.replace("xlink:", "")).itertext() if text.strip()]


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colours_of_two_tasks_are_told_apart_with_any_colour_vision(kind):
    def seen(colour):
        channels = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])
        turned = np.clip(np.array(BLINDNESS[kind]) @ channels, 0, 1)
        encoded = np.where(turned <= 0.0031308, turned * 12.92, 1.055 * turned ** (1 / 2.4) - 0.055)
        return rgb2lab(encoded.reshape(1, 1, 3))[0, 0]

    blue, green, pink = map(seen, charts.group_colours(GROUPS))
    assert min(deltaE_ciede2000(a, b) for a, b in ((blue, green), (green, pink), (blue, pink))) > 20


def test_columns_have_the_shares_as_heights_and_numbers():
    values = random_p(len(U_NET))
    svg = share_columns(U_NET, values, values.mean(0), GROUPS)
    colours = charts.group_colours(GROUPS)
    found = boxes(svg, colours)
    heights = np.stack([found[colour][: len(U_NET) + 1, 1] for colour in colours], axis=1)
    heights /= heights.sum(1, keepdims=True)
    np.testing.assert_allclose(heights, np.vstack([values, values.mean(0)]), atol=2e-3)
    shown = words(svg)
    assert {"down 1", "up 2", "r", "all", *GROUPS} <= set(shown)
    assert f"{100 * values.max():.0f}" in shown
    long = share_columns(["features.0", "block"], values[:2], values[0], GROUPS)
    assert "features.0" in words(long)


def test_panels_show_each_network_with_its_shares():
    panels = {f"start {i}": random_p(len(U_NET), seed=i) for i in range(3)}
    svg = share_panels(panels, U_NET, GROUPS)
    colours = charts.group_colours(GROUPS)
    found = boxes(svg, colours)
    heights = np.stack([found[colour][: 3 * len(U_NET), 1] for colour in colours], axis=1)
    np.testing.assert_allclose(heights / heights.sum(1, keepdims=True), np.vstack([*panels.values()]), atol=6e-3)
    assert {*panels, "down 3", "up 1"} <= set(words(svg))


def test_tasks_keep_their_colours_with_more_groups_and_legends_fit():
    two = dict(zip(GROUPS, charts.group_colours(GROUPS), strict=True))
    names = ("ct", "ct+seg", "ct+seg+dose", "ct+dose", "seg", "seg+dose", "dose")
    seven = dict(zip(names, charts.group_colours(names), strict=True))
    assert (seven["ct"], seven["seg"], seven["ct+seg+dose"]) == (two["ct"], two["seg"], two["ct+seg"])
    assert len(set(seven.values())) == 7
    assert charts.legend_columns(names, 7.3) == 3
    assert charts.legend_columns(GROUPS, 7.3) == 3
    assert charts.legend_columns(("a" * 90,), 7.3) == 1


def test_numbers_are_black_on_light_and_white_on_dark_colours():
    assert [ink_on(c) for c in ("#ffffff", "#000000", "#2466c3", "#e292c5")] == [
        "#000000",
        "#ffffff",
        "#ffffff",
        "#000000",
    ]


def test_blocks_of_the_u_stand_on_their_levels():
    encoder, decoder = u_blocks(U_NET)
    assert [(b.level, b.layers) for b in encoder] == [(0, [0, 1]), (1, [2, 3]), (2, [4, 5])]
    assert [(b.level, b.layers, b.reduce) for b in decoder] == [(1, [7, 8], 6), (0, [10, 11], 9)]
    assert u_blocks(["features.0", "features.1"]) is None
    assert u_blocks(U_NET[:-3]) is None, "the last block of the decoder is missing"
    assert u_blocks([]) is None


def test_the_u_shows_every_layer_once_with_its_shares_and_levels():
    values = random_p(len(U_NET), seed=1)
    options = {"levels": ["3 mm", "6 mm", "12 mm"], "outputs": {"ct": "ct", "seg": "seg"}, "source": "MR"}
    svg = u_figure(U_NET, values, [8] * 4 + [16] * 8, GROUPS, **options)
    colours = charts.group_colours(GROUPS)
    found = boxes(svg, colours)
    # drawn block by block, then the reductions; the boxes at the outputs are left out
    order = [0, 1, 2, 3, 4, 5, 7, 8, 10, 11, 6, 9]
    heights = np.stack([found[colour][: len(order), 1] for colour in colours], axis=1)
    np.testing.assert_allclose(heights / heights.sum(1, keepdims=True), values[order], atol=4e-3)
    text = words(svg)
    assert {"3 mm", "12 mm", "level 3", "MR", "ct", "seg", "2 x 8 kernels", "1x1"} <= set(text)
    assert svg.count("stroke-dasharray") >= 2, "two skip connections"
    assert u_figure(["a", "b"], values[:2], [], GROUPS) is None


def test_projection_to_the_triangle():
    corners = to_plane(np.eye(3))
    sides = [np.linalg.norm(corners[i] - corners[j]) for i, j in ((0, 1), (1, 2), (0, 2))]
    assert sides == pytest.approx([1, 1, 1])
    np.testing.assert_allclose(to_plane(np.full((1, 3), 1 / 3))[0], CORNERS.mean(0))


def test_density_keeps_all_kernels_and_is_a_gaussian_on_the_lattice():
    cells = lattice()
    assert len(cells) == 66
    np.testing.assert_allclose(cells.sum(1), 1)
    p = random_p(200)
    values = density(p)
    assert values.sum() == pytest.approx(1)
    for turn in ([1, 2, 0], [2, 1, 0]):
        moved = density(p[:, turn])
        index = [int(np.abs(cells - cell[turn]).sum(1).argmin()) for cell in cells]
        np.testing.assert_allclose(moved[index], values, atol=1e-12)
    middle = np.array([[0.4, 0.3, 0.3]])
    one = density(middle)
    expected = np.exp(-(100 * ((cells - middle) ** 2).sum(1)) / 2)
    np.testing.assert_allclose(one, expected / expected.sum())
    assert cells[density(np.eye(3)[:1]).argmax()].tolist() == [1, 0, 0]
    assert density(np.zeros((4, 3))).tolist() == [0] * 66, "idle kernels are nowhere"


def record(groups=GROUPS, kernels=(4, 9), steps=(0, 5, 10)):
    p = tuple(np.stack([random_p(k, len(groups), seed=s + k) for s in steps]) for k in kernels)
    free = np.tile(kernels, (len(steps), 1))
    return Trajectories(groups, ("encoder.0.0.conv", "encoder.0.1.conv"), np.array(steps), p, free)


@pytest.mark.parametrize("count", [1, 7])
def test_triangles_name_layers_kernels_and_corners(count):
    names = [f"down {i}, conv 1" for i in range(count)]
    svg = simplex_densities(names, [random_p(5 + i) for i in range(count)], GROUPS)
    shown = words(svg)
    for i, name in enumerate(names):
        assert f"{name} ({5 + i})" in shown
    assert {"ct (lower left)", "ct+seg (top)", "seg (lower right)"} <= set(shown)


def test_trajectories_and_entropy_are_drawn_up_to_where_the_groups_were_fixed():
    whole = record()
    assert {"down 1, conv 1 (4)", "training step", "10"} <= set(words(simplex_trajectories(whole)))
    cut = Trajectories(whole.groups, whole.keys, np.array([0, 50, 100]), whole.p, whole.free * [[1], [1], [0]])
    shown = words(simplex_trajectories(cut))
    assert "50" in shown
    assert "100" not in shown
    assert "100" in words(entropy_map(cut))
    assert "mean entropy (nats)" in words(entropy_map(cut))


def test_more_groups_are_a_map_of_kernels_sorted_by_group():
    groups = ("a", "a+b", "a+b+c", "b", "c")
    p = random_p(30, 5)
    svg = kernel_maps(["x", "y"], [p, p[:7]], groups)
    assert {"x (30)", "y (7)", *groups} <= set(words(svg))
    rows = sorted_kernels(p)
    assert (np.diff(rows.argmax(1)) >= 0).all()
    for group in range(5):
        assert (np.diff(rows[rows.argmax(1) == group].max(1)) <= 0).all()
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(p, axis=0))


def test_words_about_certainty_count_kernels_that_belong_to_a_group():
    clear, close, idle = [0.8, 0.1, 0.1], [0.4, 0.35, 0.25], [0.0, 0.0, 0.0]
    p = [np.array([clear, close, idle]), np.array([clear, clear])]
    assert "in 25% of the kernels; for those" in undecided(p, "step 5")
    assert undecided(p[1:], "step 5").endswith("in 0% of the kernels.")
    expected = (3 * -np.sum(np.array(clear) * np.log(clear)) - np.sum(np.array(close) * np.log(close))) / 4
    assert f"Mean entropy {expected:.2f} nats of at most 1.10" in certainty(p)


def test_level_sizes_follow_the_strides():
    network = {"channels": [8, 16, 32], "strides": [[2, 2, 1], 2]}
    spec = {"spacing_mm": [1.5, 1.5, 3], "network": network}
    assert level_sizes(spec) == ["1.5 x 1.5 x 3 mm", "3 mm", "6 mm"]
    assert level_sizes({"spacing_mm": [3, 3, 3], "network": {"channels": [8, 8]}}) == ["3 mm", "6 mm"]
    assert level_sizes({"network": network}) == []
