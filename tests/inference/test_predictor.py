# SPDX-License-Identifier: Apache-2.0
"""Posterior sampling, precision, and what the predictor refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from sfg_med.data.volumes import read_volume
from sfg_med.devices import choose_device, choose_precision
from sfg_med.errors import SfgMedError
from sfg_med.inference.passes import average_passes
from sfg_med.inference.predictor import Predictor
from sfg_med.model_file import LoadedModel
from sfg_med.networks import build_network
from sfg_med.spec import ImageTask, LabelTask, ModelSpec

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SHAPE = (30, 31, 33)


@pytest.fixture
def volume(save_nifti, blob_image, tmp_path):
    return read_volume(save_nifti(tmp_path / "x.nii.gz", blob_image(SHAPE), AFFINE))


def _predictor(model, **options) -> Predictor:
    return Predictor(model, **{"device": "cpu", "precision": "fp32", **options})


def test_mean_and_spread_over_passes_against_numpy() -> None:
    spec = ModelSpec(tasks=(ImageTask(), LabelTask(labels={"a": 1, "b": 2}), ImageTask(name="adc")))
    outputs = torch.randn(6, 5, 4, 3, 2) * 3
    passes = average_passes(iter(outputs), spec, vote=True)
    y = outputs.numpy().astype(np.float64)
    for name, channel in (("ct", 0), ("adc", 4)):
        np.testing.assert_allclose(passes.mean[name][0], y[:, channel].mean(0), atol=1e-5)
        np.testing.assert_allclose(passes.variance[name][0], y[:, channel].var(0, ddof=1), atol=1e-5)
    probabilities = softmax(y[:, 1:4], axis=1)
    np.testing.assert_allclose(passes.mean["seg"], probabilities.mean(0), atol=1e-6)
    np.testing.assert_allclose(passes.entropy("seg")[0], entropy(probabilities.mean(0), axis=0), atol=1e-5)
    votes = (probabilities.argmax(1)[:, None] == np.arange(3)[None, :, None, None, None]).mean(0)
    np.testing.assert_allclose(passes.votes["seg"], votes, atol=1e-6)


def test_one_draw_holds_for_all_windows_of_a_pass(standin, noisy_network, volume) -> None:
    network = noisy_network()
    prediction = _predictor(standin(network, patch_size=(16, 16, 16)), samples=4, seed=3).predict(volume, case="a")
    assert len(set(network.drawn)) == len(network.drawn) == 4
    # the network adds the drawn number everywhere, so the spread is the same everywhere: no window differs
    np.testing.assert_allclose(prediction.std["ct"], 100 * np.std(network.drawn, ddof=1), rtol=1e-3)
    assert prediction.std["ct"].dtype == prediction.entropy["seg"].dtype == np.float32
    assert 0 <= prediction.entropy["seg"].min() < prediction.entropy["seg"].max() <= np.log(2) + 1e-6


def test_a_case_has_its_own_random_numbers(standin, noisy_network, volume) -> None:
    drawn = []
    for seed, case in ((1, "a"), (1, "a"), (1, "b"), (2, "a")):
        network = noisy_network()
        predictor = _predictor(standin(network), samples=2, seed=seed)
        if not drawn:
            predictor.predict(volume, case="z")  # what ran before does not matter
            network.drawn.clear()
        predictor.predict(volume, case=case)
        drawn.append(tuple(network.drawn))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_labels_from_mean_or_mode(standin, volume) -> None:
    class Split(torch.nn.Module):
        """Two passes barely for the background, one strongly for the blob."""

        passes = 0

        def posterior_draw(self, generator):
            import contextlib

            self.passes += 1
            return contextlib.nullcontext()

        def forward(self, x):
            inside = torch.full_like(x, 5.0 if self.passes == 3 else -0.1)
            return torch.cat([x, torch.zeros_like(x), inside], 1)

    labels = {
        how: _predictor(standin(Split()), samples=3, labels_from=how).predict(volume).labels["seg"]
        for how in ("mean", "mode")
    }
    assert (labels["mean"] == 7).all()
    assert (labels["mode"] == 0).all()
    assert labels["mean"].dtype == np.uint8


@pytest.fixture
def real_model(volume) -> LoadedModel:
    spec = ModelSpec(
        spacing_mm=(4.0, 4.0, 4.0), patch_size=(16, 16, 16), network={"name": "SFGUNet", "channels": [8, 8]}
    )
    return LoadedModel(build_network(spec, where="test").eval(), spec, "0" * 64, volume.path)


def test_a_real_network(real_model, volume) -> None:
    model = real_model
    first = _predictor(model).predict(volume)
    again = _predictor(model, sw_batch_size=3).predict(volume)
    np.testing.assert_allclose(first.images["ct"], again.images["ct"], atol=0.1)
    assert set(np.unique(first.labels["seg"])) <= set(range(6))
    sampled = _predictor(model, samples=3).predict(volume)
    assert sampled.std["ct"].max() > 0
    half = _predictor(model, precision="bf16").predict(volume)
    assert 0 < np.std(half.images["ct"] - first.images["ct"]) < 0.03 * np.std(first.images["ct"])


def _refused(model) -> bool:
    try:
        _predictor(model, samples=2)
    except SfgMedError as error:
        return "learned groups" in str(error)
    return False


def test_frozen_groups_are_drawn_from_what_was_learned_and_others_are_refused(real_model, volume) -> None:
    network = real_model.network
    free = _predictor(real_model, samples=3).predict(volume)
    network.freeze_groups()
    before = network.assignments()
    single = _predictor(real_model).predict(volume)
    frozen = _predictor(real_model, samples=3).predict(volume)
    np.testing.assert_array_equal(frozen.std["ct"], free.std["ct"])
    assert frozen.std["ct"].max() > 0
    # afterwards the network is the frozen one again
    assert all(torch.equal(before[name], groups) for name, groups in network.assignments().items())
    np.testing.assert_array_equal(_predictor(real_model).predict(volume).images["ct"], single.images["ct"])

    assert _refused(replace(real_model, network=network.compact()))
    name, likeliest = next(iter(before.items()))
    network.set_groups({name: (likeliest + 1) % len(network.groups.names)})  # chosen by hand, not learned
    assert _refused(real_model)


def test_values_are_clipped_and_not_a_number_is_an_error(standin, volume) -> None:
    class Wild(torch.nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x):
            return torch.cat([torch.full_like(x, self.value), x, x], 1)

    assert (_predictor(standin(Wild(1e6))).predict(volume).images["ct"] == 3000).all()
    assert (_predictor(standin(Wild(-1e6))).predict(volume).images["ct"] == -1000).all()
    with pytest.raises(SfgMedError, match="NaN"):
        _predictor(standin(Wild(float("nan")))).predict(volume)


@pytest.mark.parametrize(
    "options",
    [
        {"device": "gpu"},
        {"device": "cuda:99"},
        {"precision": "fp8"},
        {"overlap": 1.0},
        {"sw_batch_size": 0},
        {"samples": 0},
        {"samples": 2},
        {"labels_from": "best"},
    ],
)
def test_refused_options(standin, options) -> None:
    with pytest.raises(SfgMedError) as caught:
        _predictor(standin(), **options)
    assert "\n" not in str(caught.value)


def test_a_field_of_view_below_the_grid_is_refused(standin, save_nifti, tmp_path) -> None:
    path = save_nifti(tmp_path / "x.nii", np.arange(27, dtype=np.int16).reshape(3, 3, 3), np.diag([0.1, 0.1, 0.1, 1]))
    with pytest.raises(SfgMedError, match="field of view"):
        _predictor(standin()).predict(read_volume(path))


def test_auto_device_and_precision(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    for answer, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=answer: answer, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        assert choose_precision("auto", torch.device("cpu")) == precision
