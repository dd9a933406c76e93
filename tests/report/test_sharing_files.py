# SPDX-License-Identifier: Apache-2.0
"""``trajectories.npz`` as the report reads it."""

import numpy as np
import pytest
import scipy.stats

from sfg_med.errors import SfgMedError
from sfg_med.report.sharing_files import TRAJECTORIES, entropy, read_trajectories
from sfg_med.training.trajectories import FILE

LAYERS = ["decoder.0.0.conv", "encoder.0.0.conv", "encoder.1.0.conv"]


def content(steps=(0, 10, 20), kernels=(4, 3, 5), groups=("ct", "ct+seg", "seg"), free=None):
    generator = np.random.default_rng(0)
    p = {
        name: generator.dirichlet(np.ones(len(groups)), (len(steps), k)).astype(np.float16)
        for name, k in zip(LAYERS, kernels, strict=True)
    }
    learning = np.tile(kernels, (len(steps), 1)) if free is None else np.array(free)
    return {"steps": np.array(steps), "groups": np.array(groups), "free": learning, **p}


def test_layers_come_in_forward_order_without_the_rounding(tmp_path):
    assert FILE == TRAJECTORIES, "the handler's file"
    data = content()
    np.savez_compressed(tmp_path / FILE, **data)
    record = read_trajectories(tmp_path / FILE)
    assert record.names == ("down 1, conv 1", "down 2, conv 1", "up 1, conv 1")
    assert record.free[0].tolist() == [3, 5, 4]
    assert record.steps.tolist() == [0, 10, 20]
    for key, values in zip(record.keys, record.p, strict=True):
        np.testing.assert_allclose(values, data[key], atol=1e-3)
        np.testing.assert_allclose(values.sum(-1), 1, atol=1e-12)
    expected = scipy.stats.entropy(record.p[1], axis=-1).mean(1)
    np.testing.assert_allclose(record.entropies()[:, 1], expected)
    np.testing.assert_array_equal(record.learned_p()[2], record.p[2][-1])
    assert not record.frozen


def test_what_was_learned_ends_where_the_groups_were_fixed(tmp_path):
    data = content(free=[[4, 3, 5], [0, 0, 5], [0, 0, 0]])
    data[LAYERS[0]][1:] = 0
    data[LAYERS[0]][1:, :, 1] = 1
    data[LAYERS[0]][1:, 0] = 0  # an idle kernel belongs to no group
    np.savez(tmp_path / FILE, **data)
    record = read_trajectories(tmp_path / FILE)
    assert record.frozen
    assert record.steps[record.learned] == 10
    assert record.p[2][1].sum(-1).tolist() == [0, 1, 1, 1]
    assert entropy(record.p[2][1]).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("damage", ["free", "steps", "layer", "text", "truncated", "no layers"])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    data = content()
    if damage in ("free", "steps"):
        data[damage] = data[damage][:-1]
    if damage == "layer":
        data[LAYERS[1]] = data[LAYERS[1]][..., :2]
    if damage == "no layers":
        data = {name: data[name] for name in ("steps", "groups", "free")}
    path = tmp_path / FILE
    np.savez(path, **data)
    if damage == "text":
        path.write_text("no zip")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SfgMedError, match=r"trajectories\.npz") as caught:
        read_trajectories(path)
    assert "\n" not in str(caught.value)
