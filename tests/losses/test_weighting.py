# SPDX-License-Identifier: Apache-2.0
"""Weightings of tasks against likelihoods of SciPy, and against the variance that made the noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import laplace, norm

from sfg_med.losses import WEIGHTINGS, ImageLoss, JointLoss, LabelLoss, bounded_log_variance, make_weighting
from sfg_med.losses.tasks import CATEGORICAL, GAUSSIAN, LAPLACE
from sfg_med.losses.weighting import LARGEST, MICCAI2018, scaled_errors
from sfg_med.networks import SFGUNet
from sfg_med.spec import ModelSpec

SPEC = ModelSpec()


def _targets(batch: int = 2, size: int = 6) -> dict[str, torch.Tensor]:
    return {
        "ct": torch.randn(batch, 1, size, size),
        "seg": torch.randint(0, 6, (batch, 1, size, size)),
        "mask": (torch.rand(batch, 1, size, size) > 0.3).to(torch.uint8),
        "ct_annotated": torch.ones(batch, 1),
        "seg_annotated": torch.ones(batch, 6),
    }


def _network(variance: bool = False) -> SFGUNet:
    return SFGUNet(2, 1, SPEC.channels, channels=(4, 8), variance=variance)


def test_scaled_errors_are_scipys_likelihoods() -> None:
    """Up to a constant that is the same for every error and variance."""
    difference, s = np.random.default_rng(0).normal(0, 2, (50, 1)), np.linspace(-3, 3, 7)
    sigma = np.exp(s / 2)
    expected = {
        GAUSSIAN: (-norm.logpdf(difference, scale=sigma), difference**2, math.log(2 * math.pi) / 2),
        LAPLACE: (-laplace.logpdf(difference, scale=sigma / math.sqrt(2)), np.abs(difference), math.log(2) / 2),
    }
    for family, (nll, errors, constant) in expected.items():
        found = scaled_errors(torch.from_numpy(errors), torch.from_numpy(s), family).numpy()
        np.testing.assert_allclose(found + constant, nll, rtol=1e-9)


def test_forms_as_printed() -> None:
    e, s = torch.tensor(3.0), torch.tensor(0.7)
    assert scaled_errors(e, s, CATEGORICAL).item() == pytest.approx(math.exp(-0.7) * 3 + 0.35)
    for family in (GAUSSIAN, CATEGORICAL):
        assert scaled_errors(e, s, family, MICCAI2018).item() == pytest.approx(3 / (2 * math.exp(0.7)) + 0.7)


def test_the_bound_is_flat_nowhere_and_the_identity_in_the_middle() -> None:
    free = torch.linspace(-40, 40, 81, requires_grad=True)
    bounded = bounded_log_variance(free)
    assert bounded.abs().max() <= LARGEST
    assert (bounded.diff() > 0).all()
    assert bounded[40].item() == 0
    bounded.sum().backward()
    assert free.grad is not None
    assert (free.grad > 0).all()
    assert free.grad[40].item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["l1", "mse", "rmse"])
def test_homoscedastic_terms_against_numpy(kind: str) -> None:
    loss = JointLoss(SPEC, _network(), weights={"ct": 99.0}, image_loss=ImageLoss(kind), weighting="homoscedastic")
    s = {"ct": -1.2, "seg": 0.4}
    with torch.no_grad():
        for name, value in s.items():
            loss.weighting.free[name].fill_(LARGEST * math.atanh(value / LARGEST))
    predicted, targets = torch.randn(2, 7, 6, 6), _targets()
    parts = loss.parts(predicted, targets)

    difference = (predicted[:, :1] - targets["ct"]).numpy()
    weight = np.where(targets["mask"].numpy() > 0, 1, 0.1)
    error = np.abs(difference) if kind == "l1" else difference**2
    mean = np.mean([(w * e).sum() / w.sum() for w, e in zip(weight, error, strict=True)])
    scale = math.sqrt(2) * math.exp(0.6) if kind == "l1" else 0.5 * math.exp(1.2)
    assert parts["ct"].item() == pytest.approx(scale * mean - 0.6, rel=1e-4)

    logits, truth = predicted[:, 1:], targets["seg"]
    ce = torch.nn.functional.cross_entropy(logits, truth[:, 0]).item()
    dice = LabelLoss()(logits, truth, torch.ones(2, 6)).item() - ce
    assert parts["seg"].item() == pytest.approx(math.exp(-0.4) * ce + 0.2 + dice, rel=1e-4)

    assert loss(predicted, targets).item() == pytest.approx(sum(p.item() for p in parts.values()), rel=1e-5)
    assert loss.last["loss_seg"] == pytest.approx(ce + dice, rel=1e-4), "without weights, whatever the weighting"
    assert loss.last["loss_ct"] == pytest.approx(ImageLoss(kind)(*_image(predicted, targets)).item(), rel=1e-4)
    assert loss.last["log_variance_ct"] == pytest.approx(-1.2, rel=1e-4)


def _image(predicted: torch.Tensor, targets: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return predicted[:, :1], targets["ct"], targets["ct_annotated"], targets["mask"]


def test_heteroscedastic_terms_against_numpy() -> None:
    loss = JointLoss(SPEC, _network(True), image_loss=ImageLoss("mse"), weighting="heteroscedastic")
    predicted, targets = torch.randn(2, 9, 6, 6), _targets()
    parts = loss.parts(predicted, targets)
    s = LARGEST * np.tanh(predicted[:, 7:].numpy() / LARGEST)

    squares = (predicted[:, :1] - targets["ct"]).numpy() ** 2
    weight = np.where(targets["mask"].numpy() > 0, 1, 0.1)
    values = np.exp(-s[:, :1]) * squares / 2 + s[:, :1] / 2
    expected = np.mean([(w * v).sum() / w.sum() for w, v in zip(weight, values, strict=True)])
    assert parts["ct"].item() == pytest.approx(expected, rel=1e-4)

    logits, truth = predicted[:, 1:7], targets["seg"]
    surprise = torch.nn.functional.cross_entropy(logits, truth[:, 0], reduction="none").numpy()
    dice = LabelLoss()(logits, truth, torch.ones(2, 6)).item() - surprise.mean()
    expected = np.mean(np.exp(-s[:, 1]) * surprise + s[:, 1] / 2) + dice
    assert parts["seg"].item() == pytest.approx(expected, rel=1e-4)
    assert set(loss.last) == {"loss_ct", "loss_seg", "log_variance_ct", "log_variance_seg"}
    assert not list(loss.parameters())


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_case_without_truth_teaches_nothing_and_moves_no_variance(weighting: str) -> None:
    loss = JointLoss(SPEC, _network(weighting == "heteroscedastic"), weighting=weighting)
    predicted = torch.randn(2, 9 if weighting == "heteroscedastic" else 7, 6, 6, requires_grad=True)
    targets = _targets()
    targets["ct_annotated"][:] = 0
    targets["seg_annotated"][1] = 0
    loss(predicted, targets).backward()
    grad = predicted.grad
    assert grad is not None
    assert grad[:, 0].abs().sum() == 0
    assert grad[1].abs().sum() == 0
    assert grad[0, 1:7].abs().sum() > 0
    if weighting == "heteroscedastic":
        assert grad[:, 7].abs().sum() == 0
    if weighting == "homoscedastic":
        assert loss.weighting.free["ct"].grad.item() == 0
        assert loss.weighting.free["seg"].grad.item() != 0


@pytest.mark.parametrize(("kind", "draw"), [("mse", np.random.Generator.normal), ("l1", np.random.Generator.laplace)])
def test_learned_variances_find_the_noise_that_was_added(kind: str, draw) -> None:
    """Two halves of an image with noise of different size; the prediction is the noiseless truth."""
    sigma = np.full((64, 64), 0.2)
    sigma[32:] = 0.05
    noise = draw(np.random.default_rng(0), 0, 1, sigma.shape) * sigma / (1 if kind == "mse" else math.sqrt(2))
    targets = {"ct": torch.from_numpy(noise)[None, None].float(), "ct_annotated": torch.ones(1, 1)}
    spec = ModelSpec(tasks=SPEC.tasks[:1])
    image_loss = ImageLoss(kind)

    half = torch.zeros(2, requires_grad=True)
    loss = JointLoss(spec, SFGUNet(2, 1, {"ct": 1}, channels=(4, 8), variance=True), image_loss=image_loss,
                     weighting="heteroscedastic")  # fmt: skip
    single = JointLoss(spec, SFGUNet(2, 1, {"ct": 1}, channels=(4, 8)), image_loss=image_loss,
                       weighting="homoscedastic")  # fmt: skip
    optimizer = torch.optim.Adam([half, *single.parameters()], lr=0.1)
    for _ in range(250):
        optimizer.zero_grad()
        free = half.repeat_interleave(32)[:, None].expand(64, 64)[None, None]
        (
            loss(torch.cat((torch.zeros(1, 1, 64, 64), free), 1), targets) + single(torch.zeros(1, 1, 64, 64), targets)
        ).backward()
        optimizer.step()
    found = torch.exp(0.5 * bounded_log_variance(half.detach())).numpy()
    np.testing.assert_allclose(found, [0.2, 0.05], rtol=0.05)
    overall = math.exp(0.5 * single.last["log_variance_ct"])
    expected = np.sqrt(np.mean(noise**2)) if kind == "mse" else math.sqrt(2) * np.mean(np.abs(noise))
    assert overall == pytest.approx(expected, rel=0.01)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="weighting must be one of"):
        make_weighting("best", ("ct",))
    with pytest.raises(ValueError, match="variance_form"):
        make_weighting("homoscedastic", ("ct",), form="thesis")
    with pytest.raises(ValueError, match="variance: true"):
        JointLoss(SPEC, _network(), weighting="heteroscedastic")
    with pytest.raises(ValueError, match="task ct"):
        JointLoss(SPEC, _network(), image_loss=ImageLoss("l1"), weighting="homoscedastic", variance_form=MICCAI2018)
