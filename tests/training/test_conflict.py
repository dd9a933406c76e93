# SPDX-License-Identifier: Apache-2.0
"""Aggregation of conflicting gradients, against gradients worked out by hand, and in whole runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from scipy.optimize import minimize

from sfg_med.errors import SfgMedError
from sfg_med.training.conflict import (
    aggregate_gradients,
    conflict_update,
    gramian_weighting,
    project_onto_dual_cone,
)
from tests.training.double import IN_DOUBLE, double_precision


@pytest.fixture(autouse=True)
def _torchjd(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name:
        pytest.importorskip("torchjd", reason="needs the extra: pip install 'sfg-med[conflict]'")


def _aggregate(rows: list[list[float]], rule: str) -> np.ndarray:
    """Gradient that is set on one parameter whose losses have these gradients."""
    parameter = torch.zeros(len(rows[0]), requires_grad=True)
    losses = [(torch.tensor(row) * parameter).sum() for row in rows]
    aggregate_gradients(losses, [parameter], gramian_weighting(rule))
    assert parameter.grad is not None
    return parameter.grad.numpy()


def test_pcgrad_of_two_gradients_by_hand() -> None:
    first, second = [1.0, 0.5], [-1.0, 0.5]
    # first . second = -0.75, both squares 1.25: each gets 0.6 of the other added.
    projected = [1.0 - 0.6, 0.5 + 0.3], [-1.0 + 0.6, 0.5 + 0.3]
    np.testing.assert_allclose(_aggregate([first, second], "pcgrad"), np.sum(projected, axis=0), atol=1e-6)


def test_upgrad_of_two_gradients_by_hand() -> None:
    """With two tasks the nearest point of the cone is on the other's normal plane, as PCGrad's."""
    found = _aggregate([[1.0, 0.5], [-1.0, 0.5]], "upgrad")
    np.testing.assert_allclose(found, [0.0, 1.6], atol=2e-3)


@pytest.mark.parametrize("rule", ["upgrad", "pcgrad"])
def test_without_conflict_it_is_the_sum(rule: str) -> None:
    np.testing.assert_allclose(_aggregate([[1.0, 0.5], [0.2, 2.0]], rule), [1.2, 2.5], atol=1e-5)


@pytest.mark.parametrize("rule", ["upgrad", "pcgrad"])
def test_what_one_task_alone_trains_takes_no_part(rule: str) -> None:
    """Elements 2 and 3 are of one task each: they neither weigh in the inner products nor change."""
    found = _aggregate([[1.0, 0.5, 7.0, 0.0], [-1.0, 0.5, 0.0, -3.0]], rule)
    np.testing.assert_allclose(found, [0.0, 1.6, 7.0, -3.0], atol=2e-3)


def test_upgrad_makes_no_task_worse() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.normal(size=(3, 4)).astype(np.float32)
        found = _aggregate(rows.tolist(), "upgrad")
        assert (rows @ found > -0.02).all()


def test_projection_against_a_general_solver() -> None:
    rng = np.random.default_rng(1)
    for size in (2, 3, 4):
        rows = rng.normal(size=(size, 5))
        gramian = rows @ rows.T
        scaled = gramian / np.trace(gramian) + 1e-4 * np.eye(size)
        for u in np.eye(size):
            bounds = [(low, None) for low in u]
            best = minimize(lambda v, g=scaled: v @ g @ v, u + 0.1, jac=lambda v, g=scaled: 2 * g @ v, bounds=bounds,
                            tol=1e-14)  # fmt: skip
            found = project_onto_dual_cone(torch.tensor(u)[None], torch.tensor(gramian))[0].numpy()
            assert found @ scaled @ found <= best.fun + 1e-8
            assert (found >= u - 1e-9).all()


def test_a_step_with_the_sum_as_rule_is_monais_own_step(
    train_tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs in double precision: MONAI's step; ours with weights of one. The whole state is the same."""
    from sfg_med.training import conflict

    monkeypatch.setattr(conflict, "gramian_weighting", lambda _: lambda gramian: torch.ones_like(gramian[0]))
    rules = ("sum", "pcgrad")
    with double_precision():
        runs = [train_tiny(tmp_path / rule, gradient_aggregation=rule, steps=2, **IN_DOUBLE) for rule in rules]
    states = [torch.load(run / "checkpoints" / "last.pt", weights_only=True)["network"] for run in runs]
    for name, value in states[0].items():
        assert value.dtype in (torch.float64, torch.int64, torch.bool), name
        torch.testing.assert_close(value, states[1][name], rtol=1e-6, atol=1e-8)
    histories = [(tmp_path / rule / "history.csv").read_text().splitlines() for rule in rules]
    assert [row.split(",")[:3] for row in histories[0]] == [row.split(",")[:3] for row in histories[1]]


class _Stop:
    """Stands for a power cut in the third step, after the first epoch's checkpoint."""

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED(once=3), self)

    def __call__(self, engine: Engine) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize(("rule", "weighting"), [("upgrad", "homoscedastic"), ("pcgrad", "heteroscedastic")])
def test_interrupted_and_resumed_equals_uninterrupted(
    train_tiny: Callable[..., Path], tmp_path: Path, rule: str, weighting: str
) -> None:
    options = {"gradient_aggregation": rule, "weighting": weighting, "network::policy::mode": "gumbel"}
    train_tiny(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "cut", observers=(_Stop(),), **options)
    train_tiny(tmp_path / "cut", **options)
    whole, cut = (
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True) for name in ("whole", "cut")
    )
    for part in ("network", "loss"):
        assert whole[part].keys() == cut[part].keys()
        for name, value in whole[part].items():
            torch.testing.assert_close(value, cut[part][name], rtol=0, atol=0)
    assert (tmp_path / "whole" / "history.csv").read_text() == (tmp_path / "cut" / "history.csv").read_text()
    learned = {"weighting.free.ct", "weighting.free.seg"} if weighting == "homoscedastic" else set()
    assert {name for name, value in whole["loss"].items() if value != 0} == learned


def test_without_torchjd_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(SfgMedError, match=r"sfg-med\[conflict\]"):
        conflict_update("upgrad")
    assert conflict_update("sum") is None


def test_without_a_known_name_or_in_several_processes_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SfgMedError, match="sum, upgrad, pcgrad"):
        conflict_update("cagrad")
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 2)
    with pytest.raises(SfgMedError, match="2 processes"):
        conflict_update("pcgrad")
