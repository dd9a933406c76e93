# SPDX-License-Identifier: Apache-2.0
"""Which kernels are shown, and that their pictures are their maps."""

import numpy as np
import pytest

from sfg_med.report import charts
from sfg_med.report.html import chart
from sfg_med.report.sharing_activations import LayerMaps, activation_rows, choose_kernels, is_dead
from sfg_med.report.sharing_files import entropy
from sfg_med.report.sharing_learned import Activations, LearnedPage, Section, write_learned_page

GROUPS = ("ct", "ct+seg", "seg")


def layer(kernels=12, size=(9, 14), seed=0):
    generator = np.random.default_rng(seed)
    p = generator.dirichlet([0.5] * 3, kernels)
    label = p.argmax(1)
    label[3] = -1
    return LayerMaps("down 1, conv 1", p, label, generator.normal(size=(kernels, *size)).astype(np.float32))


def test_the_most_certain_of_each_group_and_the_least_certain_of_the_rest():
    shown = layer()
    chosen = choose_kernels(shown.p, shown.label, each=2)
    uncertainty = entropy(shown.p)
    for group, kernels in enumerate(chosen[:-1]):
        members = np.flatnonzero(shown.label == group)
        assert kernels == members[np.argsort(uncertainty[members], kind="stable")].tolist()[:2]
    taken = [k for kernels in chosen for k in kernels]
    assert len(taken) == len(set(taken))
    assert 3 not in taken, "a kernel of no group"
    rest = [k for k in range(12) if k not in taken and k != 3]
    assert min(uncertainty[chosen[-1]]) >= max(uncertainty[rest])


def test_a_picture_is_the_kernels_map_in_its_groups_colour(decode):
    shown = layer()
    shown.maps[:] = 0
    shown.maps[:, 0, -1] = np.arange(1, 13)  # bright at the upper right
    rows = list(activation_rows([shown], GROUPS))
    assert rows[0].kernels == 12
    assert len(rows[0].certain) == 6
    for cell in rows[0].certain:
        if cell.uri:
            grey = decode(cell.uri)
            height, width = grey.shape[0] // 9, grey.shape[1] // 14
            assert grey[: height - 2, -width + 2 :].min() > 200
            assert grey[height + 2 :, : -width - 2].max() < 30
            assert cell.colour == charts.group_colours(GROUPS)[GROUPS.index(cell.group)]
            kernel = int(cell.caption.split(":")[0])
            assert GROUPS[shown.label[kernel]] == cell.group
            assert f"p {shown.p[kernel, shown.label[kernel]]:.2f}" in cell.caption


def test_an_empty_group_and_dead_kernels_are_said_to_be_so():
    shown = layer(4)
    shown.label[:] = [0, 0, 0, 0]
    shown.maps[:3] = 2.5
    row = next(activation_rows([shown], GROUPS, each=2))
    assert row.dead == 3
    assert [cell.caption for cell in row.certain[2:]] == ["no further kernel"] * 4
    assert sum("dead" in cell.caption for cell in (*row.certain, *row.uncertain)) == 3
    assert is_dead(np.zeros((3, 3)))
    assert not is_dead(np.eye(3) * 1e-4)


@pytest.mark.parametrize("with_maps", [True, False])
def test_the_page_needs_no_other_file(tmp_path, self_contained, with_maps):
    drawn = chart("A <chart>", charts.share_curves(_shares()), folded=True)
    section = Section("Study & co", [drawn], ["a line"], [["", "a"], ["b", "0.25"]])
    image = np.random.default_rng(0).normal(size=(9, 14))
    shown = Activations(image, [layer(seed=1), layer(seed=2)], GROUPS, "MR", "case1, slice 3.")
    page = LearnedPage("What <tasks> share", [("Run", "a/b")], [section], shown if with_maps else None)
    source = self_contained(write_learned_page(tmp_path / "learned.html", page).read_text())
    for words in ("What <tasks> share", "not for clinical use", "Study & co", "A <chart>", "0.25", "a line"):
        assert words in source.words
    assert ("case1, slice 3." in source.words) == with_maps
    assert ("12 kernels" in source.words) == with_maps
    if with_maps:
        assert len([v for v in source.values("src") if v]) >= 2 * 7


def _shares():
    from sfg_med.report.run_files import Shares

    values = np.random.default_rng(0).dirichlet(np.ones(3), (2, 4))
    return Shares(GROUPS, ("a", "b", "c", "d"), (1, 1, 1, 1), (0, 5), values)
