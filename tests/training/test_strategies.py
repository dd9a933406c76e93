# SPDX-License-Identifier: Apache-2.0
"""Strategies through whole training runs: all of them train, resume, and start from what they need."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from typer.testing import CliRunner

from sfg_med.cli.main import app
from sfg_med.errors import SfgMedError
from sfg_med.model_file import load_model
from sfg_med.networks import MultiTaskNetwork
from sfg_med.sharing import IDLE
from sfg_med.training.runner import config_dir
from sfg_med.training.strategies import named_strategies, strategy_config
from tests.training.interruption import InterruptAt, Interruption

Train = Callable[..., Path]
# The others are trained in the fast tests below.
QUICK = ("single-task", "mtan")
ROWS = named_strategies()


class At:
    """Call a function when an iteration starts."""

    def __init__(self, iteration: int, function: Callable[[Engine], None]) -> None:
        self.iteration, self.function = iteration, function

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_STARTED(once=self.iteration), self)

    def __call__(self, engine: Engine) -> None:
        self.function(engine)


class Record:
    """Something of the network at the end of each iteration."""

    def __init__(self, what: Callable[[MultiTaskNetwork], Any]) -> None:
        self.what, self.seen = what, {}  # type: ignore[var-annotated]

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        self.seen[engine.state.iteration] = self.what(engine.network)  # type: ignore[attr-defined]


def groups_of(network: MultiTaskNetwork) -> dict[str, list[int]]:
    return {name: groups.tolist() for name, groups in network.assignments().items()}


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings and lists to one level."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if pairs is None:
        return {name: value}
    return {k: v for key, part in pairs for k, v in flat(part, f"{name}/{key}").items()}


def assert_same(first: Path, second: Path) -> None:
    """Checkpoints, figures and models of two runs."""
    a, b = (flat(torch.load(run / "checkpoints" / "last.pt", weights_only=True)) for run in (first, second))
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]) if isinstance(value, Tensor) else value == b[key], key
    for name in ("history.csv", "groups.json"):
        assert (first / name).read_text() == (second / name).read_text()
    a, b = (load_model(run / "models" / "model.safetensors").network.state_dict() for run in (first, second))
    assert all(torch.equal(value, b[key]) for key, value in a.items())


def learning(run: Path) -> list[float]:
    rows = [row.split(",") for row in (run / "history.csv").read_text().splitlines()[1:]]
    return [float(value) for _, split, name, value in rows if split == "train" and name == "loss"]


def check_run(run: Path, rows: Any) -> None:
    assert len(learning(run)) == 2
    assert all(0 < value < 1e4 for value in learning(run))
    model = load_model(run / "models" / "model.safetensors")
    assert model.spec.network["strategy"] == rows["strategy"]
    assert model.network(torch.zeros(1, 1, 32, 32, 16)).shape == (1, 7, 32, 32, 16)
    assert json.loads((run / "groups.json").read_text())["steps"] == [0, 2, 4]


@pytest.fixture(scope="module")
def needed(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Finished runs that other strategies start from. Not to be changed."""
    runs: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in runs:
            runs[name] = train_tiny(tmp_path_factory.mktemp(name) / "run", **ROWS[name].config)
        return runs[name]

    return find


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ROWS])
def test_every_named_strategy_trains(
    name: str, train_tiny: Train, needed: Callable[[str], Path], tiny: dict, tiny_dataset: Path, tmp_path: Path
) -> None:
    row = ROWS[name]
    assert row.summary
    source = needed(row.needs) if row.needs else None
    values = {**tiny, "dataset_dir": str(tiny_dataset)}
    config = strategy_config(name, source, [config_dir() / "train.yaml"], values)
    check_run(train_tiny(tmp_path / "run", **config), config)


# --- interruptions ----------------------------------------------------------------------------------------------------

# Two epochs of three steps; the checkpoint that is resumed from is that of step 3.
LENGTH = {"steps": 6, "steps_per_epoch": 3, "log_interval": 2}
CHANGING = {
    # roams at every second step, so at one before and one after the checkpoint
    "random-masks": {"name": "random-masks", "interval": 2},
    # merges at step 4, by gradients from both sides of the checkpoint
    "selective-merging": {"name": "selective-sharing", "merge_at": [4 / 6], "threshold": 2.5},
    # merged before the checkpoint: the estimators of the resumed run are those that were left
    "selective-merged": {"name": "selective-sharing", "merge_at": [2 / 6], "threshold": 2.5},
    # never merges: what has been gathered by step 6 is a part of the last checkpoint
    "selective-gathering": {"name": "selective-sharing", "merge_at": [1 / 6, 1.5], "threshold": 0.0},
    "constant-p": {"name": "constant-p"},
}


@pytest.mark.parametrize(
    "name", [n if n != "constant-p" else pytest.param(n, marks=pytest.mark.slow) for n in CHANGING]
)
def test_interrupted_and_resumed_equals_uninterrupted(name: str, train_tiny: Train, tmp_path: Path) -> None:
    options = {**LENGTH, "strategy": CHANGING[name]}
    groups, resumed = Record(groups_of), Record(groups_of)
    whole = train_tiny(tmp_path / "whole", observers=(groups,), **options)
    with pytest.raises(Interruption):
        train_tiny(tmp_path / "cut", observers=(InterruptAt(6),), **options)
    cut = train_tiny(tmp_path / "cut", observers=(resumed,), **options)
    assert_same(whole, cut)
    assert resumed.seen == {step: groups.seen[step] for step in (4, 5, 6)}
    state = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)["group_changes"]
    changed = groups.seen[3] != groups.seen[4]
    if name == "random-masks":
        assert groups.seen[1] == groups.seen[2] != groups.seen[3] == groups.seen[4] != groups.seen[5]
    elif name == "selective-merging":
        assert changed
        assert state["branches"] == [["ct", "seg"]]
    elif name == "selective-merged":
        assert groups.seen[1] != groups.seen[2] == groups.seen[3]
        assert state["branches"] == [["ct", "seg"]]
    elif name == "selective-gathering":
        assert not changed
        assert state["branches"] == [["ct"], ["seg"]]
        assert state["gradients"]["mean"].abs().sum() > 0
        assert state["gradients"]["counts"].tolist() == [5, 5]


def test_merged_estimators_leave_idle_kernels_that_the_model_file_does_not_hold(
    train_tiny: Train, tmp_path: Path
) -> None:
    watched = Record(groups_of)
    run = train_tiny(tmp_path / "run", observers=(watched,), **LENGTH, strategy=CHANGING["selective-merging"])
    found = watched.seen[6]
    assert {g for groups in watched.seen[3].values() for g in groups} == {0, 1, 2}
    assert {g for groups in found.values() for g in groups} == {1, IDLE}
    network = load_model(run / "models" / "model.safetensors").network
    kept = {name: len(p) for name, p in network.group_probabilities().items()}
    assert kept == {name: sum(g != IDLE for g in groups) for name, groups in found.items()}
    shared = train_tiny(tmp_path / "shared", steps=1, strategy="hard-sharing")
    wanted = load_model(shared / "models" / "model.safetensors").network
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in wanted.parameters())


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param({"name": "random-masks", "interval": 1}, marks=pytest.mark.slow),
        ROWS["sfg-stochastic"].config["strategy"],
    ],
    ids=["random-masks", "sfg-stochastic"],
)
def test_the_same_seed_gives_the_same_numbers(strategy: dict[str, Any], train_tiny: Train, tmp_path: Path) -> None:
    once, again, other = (
        train_tiny(tmp_path / str(i), steps=2, strategy=strategy, seed=seed) for i, seed in enumerate((0, 0, 1))
    )
    assert_same(once, again)
    assert learning(once) != learning(other)


# --- what a strategy starts from --------------------------------------------------------------------------------------


def test_cross_stitch_starts_from_the_single_task_networks(
    train_tiny: Train, needed: Callable[[str], Path], tmp_path: Path
) -> None:
    source = needed("single-task")
    config = strategy_config("cross-stitch-pretrained", source, [], {})
    start: dict[str, Tensor] = {}

    def look(engine: Engine) -> None:
        network: MultiTaskNetwork = engine.network  # type: ignore[attr-defined]
        start.update({name: value.clone() for name, value in network.state_dict().items()})

    run = train_tiny(tmp_path / "run", observers=(At(1, look),), steps=2, **config)
    single = load_model(source / "models" / "model.safetensors").network.state_dict()
    alphas = {name for name in start if name.endswith("unit.alpha")}
    assert start.keys() - alphas == single.keys()
    assert alphas
    for name, value in start.items():
        if name in alphas:
            wanted = torch.tensor([[0.9, 0.1], [0.1, 0.9]])[:, :, None].expand_as(value)
            torch.testing.assert_close(value, wanted)
        else:
            assert torch.equal(value, single[name]), name
    trained = load_model(run / "models" / "model.safetensors").network.state_dict()
    assert all(not torch.equal(trained[name], start[name]) for name in alphas), "the coefficients are learned"


def test_a_tree_is_searched_in_the_single_task_networks_and_trained(
    train_tiny: Train, needed: Callable[[str], Path], tiny: dict, tiny_dataset: Path, tmp_path: Path
) -> None:
    source = needed("single-task-full")
    files, values = [config_dir() / "train.yaml"], {**tiny, "dataset_dir": str(tiny_dataset)}
    config = strategy_config("branched", source, files, values)
    about = json.loads((source / "branching.json").read_text())
    assert config["strategy"]["tree"] == about["tree"]
    assert about["stages"] == ["encoder.0", "encoder.1", "decoder.0"]
    assert [sorted(task for cluster in partition for task in cluster) for partition in about["tree"]] == [
        ["ct", "seg"]
    ] * 3
    assert about["parameters"] <= about["budget"] == int(1.5 * sum(about["stage_parameters"]))
    assert len(about["tree"][0]) == 1, "two full networks cost twice as much as one"
    run = train_tiny(tmp_path / "run", **config)
    network = load_model(run / "models" / "model.safetensors").network
    width = {len(partition) for partition in about["tree"]}
    for (stage, layers), partition in zip(network.stage_layers.items(), about["tree"], strict=True):
        probabilities = network.group_probabilities()
        owners = {network.groups.names[g] for layer in layers for g in probabilities[layer].argmax(1).tolist()}
        assert owners == {"+".join(sorted(cluster)) for cluster in partition}, stage
    assert width <= {1, 2}


def test_a_run_that_is_needed_and_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SfgMedError, match="a finished run of single-task"):
        strategy_config("cross-stitch-pretrained", None, [], {})
    with pytest.raises(SfgMedError, match="run single-task-full"):
        strategy_config("branched", tmp_path, [], {})


# --- the command ------------------------------------------------------------------------------------------------------


def words(tiny: dict[str, Any], tiny_dataset: Path, run: Path, *more: str) -> list[str]:
    values = {k: v for k, v in tiny.items() if k != "device"} | {"steps": 1}
    overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    return ["train", "--dataset-dir", str(tiny_dataset), "--run-dir", str(run), *overrides, *more]


@pytest.mark.filterwarnings("ignore:.*is resolved to an importable callable.*")
def test_the_command_takes_a_strategy(tiny: dict[str, Any], tiny_dataset: Path, tmp_path: Path) -> None:
    chosen = "strategy={name: constant-mask, shares: {ct: 0.25, ct+seg: 0.5, seg: 0.25}}"
    done = CliRunner().invoke(app, words(tiny, tiny_dataset, tmp_path / "run", chosen))
    assert done.exit_code == 0, done.output
    network = load_model(tmp_path / "run" / "models" / "model.safetensors").network
    assert {tuple(p.mean(0).tolist()) for p in network.group_probabilities().values()} == {(0.25, 0.5, 0.25)}


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("strategy=hard_sharing", "hard-sharing"),
        ("strategy={name: branched}", "tree"),
        ("strategy={name: selective-sharing, treshold: 0.5}", "treshold"),
        ("strategy={name: selective-sharing, threshold: -1.0}", "threshold"),
        ("strategy={name: selective-sharing, metric: nearness}", "metric"),
        ("strategy={name: selective-sharing, rank: 0}", "rank"),
        ("strategy={name: selective-sharing, merge_at: [0.3, 0.1]}", "merge_at"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is resolved to an importable callable.*")
def test_the_command_says_in_one_line_what_is_wrong_with_a_strategy(
    strategy: str, said: str, tiny: dict[str, Any], tiny_dataset: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, words(tiny, tiny_dataset, tmp_path / "run", strategy))
    assert done.exit_code != 0
    message = str(done.exception) if isinstance(done.exception, SfgMedError) else done.output
    assert said in message
    assert len(message.strip().splitlines()) == 1
