# SPDX-License-Identifier: Apache-2.0
"""A whole run of configs/train.yaml in this process."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sfg_med.errors import SfgMedError
from sfg_med.inference.posterior import has_posterior
from sfg_med.model_file import load_model
from sfg_med.training import count_epochs


def read_history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_writes_everything_that_it_promises(tiny_run: Path, tiny_dataset: Path) -> None:
    rows = read_history(tiny_run)
    assert all(math.isfinite(float(r["value"])) for r in rows)
    assert {(r["step"], r["split"]) for r in rows} == {(s, p) for s in "24" for p in ("train", "validation")}
    trained = {r["name"] for r in rows if r["split"] == "train"}
    assert trained >= {"loss", "loss_ct", "loss_seg", "loss_penalty", "learning_rate", "temperature", "entropy"}
    assert {r["name"] for r in rows if r["split"] == "validation"} == {"score", "mae_hu", "dice_seg"}
    names = {p.relative_to(tiny_run).as_posix() for p in tiny_run.rglob("*") if p.is_file()}
    assert names >= {"groups.json", "spec.json", "splits.json", "models/model.pt", "models/model.safetensors"}
    assert names >= {"checkpoints/best.pt", "checkpoints/last.pt"}
    assert any(n.startswith("tensorboard/events") for n in names)
    assert json.loads((tiny_run / "splits.json").read_text()) == json.loads((tiny_dataset / "splits.json").read_text())


def test_the_loss_is_the_weighted_sum_of_its_parts(tiny_run: Path) -> None:
    values = {
        r["name"]: float(r["value"]) for r in read_history(tiny_run) if r["step"] == "4" and r["split"] == "train"
    }
    expected = 10 * values["loss_ct"] + values["loss_seg"] + values["loss_penalty"]
    assert values["loss"] == pytest.approx(expected, rel=1e-4)


def test_group_shares_are_kept_for_each_epoch_and_sum_to_one(tiny_run: Path) -> None:
    shares = json.loads((tiny_run / "groups.json").read_text())
    assert shares["groups"] == ["ct", "ct+seg", "seg"]
    assert shares["steps"] == [0, 2, 4]
    for step in shares["shares"]:
        assert len(step) == len(shares["layers"]) == len(shares["kernels"])
        assert all(sum(layer) == pytest.approx(1, abs=1e-5) for layer in step)
    first = dict(zip(shares["groups"], shares["shares"][0][0], strict=True))
    assert first["ct+seg"] == pytest.approx(1 / 3, abs=1e-5)


def test_the_model_file_holds_the_best_network_with_frozen_groups(tiny_run: Path) -> None:
    rows = [r for r in read_history(tiny_run) if r["name"] == "score"]
    assert float(rows[-1]["value"]) == max(float(r["value"]) for r in rows), "the best is the last one here"
    model = load_model(tiny_run / "models" / "model.safetensors")
    last = torch.load(tiny_run / "checkpoints" / "last.pt", weights_only=True)["network"]
    bundle = torch.load(tiny_run / "models" / "model.pt", weights_only=True)
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, bundle[name], rtol=0, atol=0)
        torch.testing.assert_close(value, last[name], rtol=0, atol=0)
    assert all((v >= 0).all() for k, v in bundle.items() if k.endswith("assignment"))
    assert model.metadata["provenance"]["steps"] == 4
    assert len(model.metadata["provenance"]["train"]) == 4


def test_a_worse_validation_does_not_replace_the_best_network(tiny_run: Path, tmp_path: Path) -> None:
    """Over an interruption as well: the handler's memory is a part of the checkpoint."""
    from ignite.engine import Engine

    from sfg_med.training import BestHandler

    network = torch.nn.Linear(1, 1, bias=False)
    engine = Engine(lambda *_: None)

    def validated(handler: BestHandler, score: float, weight: float) -> float:
        engine.state.metrics = {"score": score}
        torch.nn.init.constant_(network.weight, weight)
        handler(engine)
        return torch.load(tmp_path / "best.pt", weights_only=True)["weight"].item()

    handler = BestHandler(str(tmp_path), network)
    assert validated(handler, 0.5, 1) == 1
    assert validated(handler, 0.4, 2) == 1
    assert validated(handler, math.nan, 3) == 1
    again = BestHandler(str(tmp_path), network)
    again.load_state_dict(handler.state_dict())
    assert validated(again, 0.4, 4) == 1
    assert validated(again, 0.6, 5) == 5


@pytest.mark.parametrize(("steps", "per_epoch", "epochs"), [(300, 100, 3), (100, 100, 1), (7, 100, 1), (100, 50, 2)])
def test_epochs_of_a_run(steps: int, per_epoch: int, epochs: int) -> None:
    assert count_epochs(steps, per_epoch) == epochs


@pytest.mark.parametrize(("steps", "per_epoch"), [(250, 100), (0, 100), (-3, 100), (10, 0)])
def test_steps_that_are_no_whole_number_of_epochs_are_refused(steps: int, per_epoch: int) -> None:
    with pytest.raises(SfgMedError, match="steps"):
        count_epochs(steps, per_epoch)


def test_a_run_shorter_than_an_epoch_still_validates_and_writes_a_model(
    train_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    run = train_tiny(tmp_path / "run", steps=1, steps_per_epoch=100, val_interval=4, batch_size=1)
    assert [r["step"] for r in read_history(run) if r["name"] == "score"] == ["1"]
    assert (run / "models" / "model.safetensors").is_file()


def test_frozen_groups_stay_the_likeliest_ones(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    """The optimiser's momentum would move the probabilities on, and the model could no longer be drawn from."""
    run = train_tiny(
        tmp_path / "run", steps=12, freeze_groups_at=0.5, group_learning_rate=0.5, least_own=0.0, least_usable=0.0
    )
    states = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["network"]
    names = [name for name in states if name.endswith("distribution.rho")]
    assert names
    for name in names:
        fixed = states[name.replace("distribution.rho", "assignment")]
        assert (fixed >= 0).all()
        assert torch.equal(fixed, states[name].argmax(-1)), name
    assert has_posterior(load_model(run / "models" / "model.safetensors").network)


def test_every_task_keeps_kernels_of_its_own_when_groups_are_fixed(
    train_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    run = train_tiny(tmp_path / "run", steps=4, freeze_groups_at=0.5, least_own=0.4)
    states = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["network"]
    layers = [name for name in states if name.endswith("distribution.rho")]
    assert layers
    for name in layers:
        fixed = states[name.replace("distribution.rho", "assignment")].tolist()
        quota = min(math.ceil(0.4 * len(fixed)), len(fixed) // 2)
        assert min(fixed.count(0), fixed.count(2)) >= quota, name  # groups: ct, ct+seg, seg


def test_a_share_that_cannot_be_is_refused_before_the_training(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    for name, value in (("least_own", 0.6), ("least_usable", 1.1)):
        with pytest.raises(SfgMedError, match=name):
            train_tiny(tmp_path / "run", steps=4, **{name: value})
