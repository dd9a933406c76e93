# SPDX-License-Identifier: Apache-2.0
"""Both parts of the uncertainty, and how one pass decides the groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.data.volumes import read_volume
from sfg_med.errors import SfgMedError
from sfg_med.inference.inputs import find_jobs
from sfg_med.inference.passes import average_passes
from sfg_med.inference.predictor import Predictor
from sfg_med.model_file import LoadedModel, save_model
from sfg_med.networks import build_network
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
NETWORK = {"name": "SFGUNet", "channels": [8, 8], "variance": True}
SPEC = ModelSpec(spacing_mm=(4.0, 4.0, 4.0), patch_size=(16, 16, 16), network=NETWORK)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> LoadedModel:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    network = build_network(SPEC, where="test").eval()
    save_model(path, network, SPEC, provenance={})
    return LoadedModel(network, SPEC, "0" * 64, path)


@pytest.fixture
def mr(save_nifti, blob_image, tmp_path) -> Path:
    return save_nifti(tmp_path / "in" / "x.nii.gz", blob_image((20, 21, 23)), AFFINE)


def _predictor(model: LoadedModel, **options) -> Predictor:
    return Predictor(model, **{"device": "cpu", "precision": "fp32", **options})


def test_parts_against_numpy() -> None:
    spec = ModelSpec(tasks=(ImageTask(), LabelTask(labels={"a": 1, "b": 2}), ImageTask(name="adc")))
    outputs = torch.randn(7, 8, 4, 3, 2) * 3  # ct, three classes, adc, and a log variance for each of the three tasks
    passes = average_passes(iter(outputs), spec, entropy_parts=True)
    y = outputs.numpy().astype(np.float64)
    for name, mean, free in (("ct", 0, 5), ("adc", 4, 7)):
        np.testing.assert_allclose(passes.mean[name][0], y[:, mean].mean(0), atol=1e-5)
        np.testing.assert_allclose(passes.variance[name][0], y[:, mean].var(0, ddof=1), rtol=1e-4)
        predicted = np.exp(10 * np.tanh(y[:, free] / 10)).mean(0)
        np.testing.assert_allclose(passes.intrinsic[name][0], predicted, rtol=1e-4)
    p = softmax(y[:, 1:4], axis=1)
    np.testing.assert_allclose(passes.intrinsic["seg"][0], entropy(p, axis=1).mean(0), atol=1e-5)
    information = entropy(p, np.broadcast_to(p.mean(0), p.shape), axis=1).mean(0)  # mean divergence from the mean
    np.testing.assert_allclose(passes.entropy("seg")[0] - passes.intrinsic["seg"][0], information, atol=1e-5)


def test_the_parts_add_up_in_the_grid_of_the_input(model, mr) -> None:
    volume = read_volume(mr)
    several = _predictor(model, samples=3, entropy_parts=True, details=True).predict(volume)
    parts = several.parts
    assert set(parts) == {f"{k}_{p}" for k in ("ct_std", "seg_entropy") for p in ("parameter", "intrinsic")}
    assert all(np.ptp(part) > 0 and part.min() >= 0 and part.dtype == np.float32 for part in parts.values())
    squares = parts["ct_std_parameter"] ** 2 + parts["ct_std_intrinsic"] ** 2
    np.testing.assert_allclose(several.std["ct"] ** 2, squares, rtol=1e-3)
    total = parts["seg_entropy_parameter"] + parts["seg_entropy_intrinsic"]
    np.testing.assert_allclose(several.entropy["seg"], total, atol=1e-5)
    p = several.probabilities["seg"]
    np.testing.assert_allclose(p.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(p.argmax(0), several.labels["seg"])


def test_one_pass_has_the_predicted_spread_only_if_asked(model, mr) -> None:
    volume = read_volume(mr)
    plain = _predictor(model).predict(volume)
    assert (plain.std, plain.parts, plain.entropy, plain.probabilities) == ({}, {}, {}, {})
    asked = _predictor(model, details=True).predict(volume)
    assert asked.std["ct"].min() > 0
    assert not asked.entropy
    np.testing.assert_array_equal(asked.images["ct"], plain.images["ct"])


def test_groups_of_one_pass(model, mr) -> None:
    volume = read_volume(mr)

    def ct(network=None, **options) -> np.ndarray:
        return _predictor(replace(model, network=network or model.network), **options).predict(volume).images["ct"]

    np.testing.assert_array_equal(ct(groups="argmax"), ct())
    mean = build_network(replace(SPEC, network={**NETWORK, "policy": {"eval_mode": "mean"}}), where="test").eval()
    mean.load_state_dict(model.network.state_dict())
    np.testing.assert_array_equal(ct(groups="mean"), ct(mean))
    np.testing.assert_array_equal(ct(mean, groups="argmax"), ct())
    assert np.abs(ct(mean) - ct()).max() > 0.1

    np.testing.assert_array_equal(ct(groups="draw", seed=3), ct(groups="draw", seed=3))
    assert np.abs(ct(groups="draw", seed=3) - ct(groups="draw", seed=4)).max() > 0.1
    drawing = build_network(replace(SPEC, network={**NETWORK, "policy": {"eval_mode": "gumbel"}}), where="test").eval()
    drawing.load_state_dict(model.network.state_dict())
    np.testing.assert_array_equal(ct(drawing, seed=3), ct(groups="draw", seed=3))
    # afterwards a network is what it was
    np.testing.assert_array_equal(ct(), ct(groups="argmax"))


def test_idle_kernels_stay_idle_in_draws(model, mr) -> None:
    network = build_network(SPEC, where="test").eval()
    network.load_state_dict(model.network.state_dict())
    name, groups = next(iter(network.assignments().items()))
    idle = groups.clone()
    idle[::2] = -2
    network.set_groups({name: idle})
    layer = network.get_submodule(name)
    seen = []
    handle = layer.register_forward_hook(lambda *_: seen.append(layer.kernel_groups(1).clone()))
    _predictor(replace(model, network=network), samples=2).predict(read_volume(mr))
    handle.remove()
    assert seen
    assert all((rows[::2] == 0).all() and (rows[1::2].sum(-1) == 1).all() for rows in seen)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"groups": "best"}, "model, argmax, mean, draw"),
        ({"groups": "mean", "samples": 3}, "draw, where --samples"),
        ({"groups": "mean", "compact": True}, "--groups mean"),
        ({"groups": "draw", "compact": True}, "--groups draw"),
        ({"samples": 2, "compact": True}, "--samples 2"),
    ],
)
def test_refused_groups(model, options, words) -> None:
    network = model.network.compact() if options.pop("compact", False) else model.network
    with pytest.raises(SfgMedError, match=words):
        _predictor(replace(model, network=network), **options)


def test_files_of_predict(model, mr, tmp_path) -> None:
    def predict(out: Path, *more: str) -> set[str]:
        words = ["predict", "-i", str(mr.parent), "-o", str(out), "-m", str(model.path), "--device", "cpu", *more]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        return {p.name.removeprefix("x_").removesuffix(".nii.gz") for p in out.glob("*.nii.gz")}

    assert predict(tmp_path / "one") == {"ct", "seg"}
    maps = {"ct", "seg", "ct_std", "ct_std_parameter", "ct_std_intrinsic", "seg_entropy"}
    assert predict(tmp_path / "some", "--samples", "2") == maps
    more = {"seg_entropy_parameter", "seg_entropy_intrinsic"}
    assert predict(tmp_path / "all", "--samples", "2", "--entropy-parts") == maps | more
    for path in (tmp_path / "all").glob("*_parameter.nii.gz"):
        image = nib.load(path)
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(image.affine, AFFINE)


def test_maps_are_no_inputs(tmp_path, save_nifti, blob_image) -> None:
    names = ["x", "x_ct_std_parameter", "x_ct_std_intrinsic", "x_seg_entropy_parameter", "x_seg_entropy_intrinsic"]
    for name in names:
        save_nifti(tmp_path / f"{name}.nii.gz", blob_image((5, 5, 5)), AFFINE)
    assert [job.source.name for job in find_jobs(tmp_path, tmp_path / "out", ModelSpec())] == ["x.nii.gz"]
