# SPDX-License-Identifier: Apache-2.0
"""A run starts from another model: the same network, output and groups before the first step, and afterwards groups."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sfg_med.errors import SfgMedError
from sfg_med.losses import JointLoss
from sfg_med.model_file import load_model, save_model
from sfg_med.networks import MultiTaskNetwork, build_network
from sfg_med.sharing import IDLE, GroupingSchedule, TemperatureSchedule, VariationalObjective
from sfg_med.spec import ModelSpec
from sfg_med.training import initial_settings, make_optimizer, start_network
from tests.networks.strategy_networks import image, options_of, spec

STARTS = [
    *[(network, "sfg", 2) for network in ("SFGUNet", "SFGVGG", "SFGHighResNet")],
    ("SFGUNet", "sfg", 3),
    ("SFGHighResNet", "sfg", 3),
    ("SFGUNet", {"name": "sfg", "groups": "lattice"}, 3),
    ("SFGUNet", "single-task", 2),
    ("SFGUNet", "single-task", 3),
    ("SFGVGG", "hard-sharing", 2),
    ("SFGUNet", "branched", 3),
    ("SFGUNet", "cross-stitch", 2),
    ("SFGUNet", "mtan", 2),
    ("SFGUNet", {"name": "random-masks", "ratio": 0.6}, 3),
]


def saved(path: Path, about: ModelSpec, *, frozen: bool = True, **options: Any) -> MultiTaskNetwork:
    """Write a model with nothing left at zero and kernels of all groups; return its network."""
    torch.manual_seed(3)
    network = build_network(about)
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1 or name.endswith("rho"):
            nn.init.normal_(parameter)
    for name, buffer in network.named_buffers():  # statistics of batch norms
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 2.0)
    if frozen:
        network.freeze_groups()
    save_model(path, network.eval(), about, provenance={}, **options)
    return network


def about(network: str, strategy: Any, tasks: int, **options: Any) -> ModelSpec:
    return spec(network, options_of(strategy, tasks) if isinstance(strategy, str) else strategy, tasks, **options)


def compacts(network: MultiTaskNetwork) -> bool:
    return bool(network.assignments())


@pytest.mark.parametrize(("network", "strategy", "tasks"), STARTS)
def test_before_the_first_step_the_output_is_the_initial_models(
    network: str, strategy: Any, tasks: int, tmp_path: Path
) -> None:
    model, chosen = tmp_path / "model.safetensors", about(network, strategy, tasks)
    original = saved(model, chosen)
    files = [model]
    if compacts(original):
        files.append(tmp_path / "compact.safetensors")
        save_model(files[1], original, chosen, compact=True, provenance={})
    for file in files:
        started = start_network(chosen, str(file), "all")
        with torch.no_grad():
            x = image()
            expected, found = original(x), started.eval()(x)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(started.train()(x), original.train()(x), rtol=1e-5, atol=1e-5)
            original.eval()
        assert expected.std() > 0.01
        for name, groups in original.assignments().items():
            assert torch.equal(started.assignments()[name], groups)
        assert started.groups_are_fixed == compacts(original)
        assert not any(p.requires_grad for n, p in started.named_parameters() if n.endswith("rho"))


def test_batch_norms_and_prelu_follow(tmp_path: Path) -> None:
    chosen = about("SFGHighResNet", "sfg", 2, norm="batch", act="prelu")
    original = saved(tmp_path / "m.safetensors", chosen, compact=True)
    started = start_network(chosen, str(tmp_path / "m.safetensors"), "all").eval()
    x = image()
    torch.testing.assert_close(started(x), original(x), rtol=1e-5, atol=1e-5)


def train(network: MultiTaskNetwork, steps: int = 5) -> None:
    optimizer = make_optimizer(network, learning_rate=0.05, group_learning_rate=0.5, weight_decay=0.1)
    schedule = GroupingSchedule(TemperatureSchedule(), 0)
    for step in range(steps):
        schedule.apply(network.train(), step)
        optimizer.zero_grad()
        network(image()).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("compact", [True, False])
def test_training_changes_weights_and_no_group_and_is_saved_compact(compact: bool, tmp_path: Path) -> None:
    chosen = about("SFGUNet", "sfg", 3)
    file = tmp_path / "m.safetensors"
    original = saved(file, chosen, compact=compact)
    started = start_network(chosen, str(file), "all")
    train(started)
    for name, groups in original.assignments().items():
        assert torch.equal(started.assignments()[name], groups)
    assert started.groups_are_fixed, "and so the run writes the compact form"
    save_model(tmp_path / "tuned.safetensors", started, chosen, compact=True, provenance={})
    x = image()
    with torch.no_grad():
        tuned = load_model(tmp_path / "tuned.safetensors").network(x)
        torch.testing.assert_close(tuned, started.eval()(x), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(tuned, original.eval()(x), atol=0.01)
    again = load_model(tmp_path / "tuned.safetensors", trainable=True).network
    assert {n: g.tolist() for n, g in again.assignments().items()} == {
        n: g.tolist() for n, g in original.assignments().items()
    }


def test_a_model_that_still_learns_its_groups_goes_on_learning_them(tmp_path: Path) -> None:
    chosen = about("SFGUNet", "sfg", 2)
    original = saved(tmp_path / "m.safetensors", chosen, frozen=False)
    started = start_network(chosen, str(tmp_path / "m.safetensors"), "all")
    for name, p in original.group_probabilities().items():
        torch.testing.assert_close(started.group_probabilities()[name], p)
    assert not started.groups_are_fixed
    assert all(layer.kernel_groups.learns for layer in started.sharing_layers().values())


def test_idle_kernels_stay_idle(tmp_path: Path) -> None:
    chosen = about("SFGUNet", {"name": "sfg", "groups": "lattice"}, 2)
    original = saved(tmp_path / "whole.safetensors", chosen)
    name, groups = next(iter(original.assignments().items()))
    groups[2] = IDLE
    original.set_groups({name: groups})
    save_model(tmp_path / "m.safetensors", original, chosen, compact=True, provenance={})
    started = start_network(chosen, str(tmp_path / "m.safetensors"), "all").eval()
    assert started.assignments()[name][2] == IDLE
    x = image()
    torch.testing.assert_close(started(x), original(x), rtol=1e-5, atol=1e-5)


def test_the_path_form_goes_on_in_the_path_form(tmp_path: Path) -> None:
    chosen = about("SFGUNet", {"name": "sfg", "form": "paths"}, 2)
    original = saved(tmp_path / "m.safetensors", chosen)
    started = start_network(chosen, str(tmp_path / "m.safetensors"), "all").eval()
    x = image()
    torch.testing.assert_close(started(x), original(x), rtol=0, atol=0)
    # It has no compact form, and must not be taken for a network that is saved in it.
    assert not started.groups_are_fixed


def test_common_layers_of_a_compact_model_serve_another_label_set(tmp_path: Path) -> None:
    chosen = about("SFGUNet", "sfg", 2)
    original = saved(tmp_path / "m.safetensors", chosen, compact=True)
    two = {**chosen.to_dict()}
    two["tasks"] = [{"kind": "image", "name": "a"}, {"kind": "labels", "name": "b", "labels": {"x": 1, "z": 2}}]
    other = ModelSpec.from_dict(two)
    started = start_network(other, str(tmp_path / "m.safetensors")).eval()
    assert started.groups_are_fixed
    assert not torch.equal(started.head.weight[:3], original.head.weight[:3])
    x = image()
    *_, (_, trunk) = started.stages(x)
    *_, (_, expected) = original.stages(x)
    reads = expected.maps[0].abs().amax((0, 2, 3)) > 0
    assert reads.any()
    torch.testing.assert_close(trunk.maps[0], expected.maps[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(SfgMedError, match=r"head\.weight.*initial_layers=common"):
        start_network(other, str(tmp_path / "m.safetensors"), "all")


def test_groups_of_other_tasks_are_not_taken_over(tmp_path: Path) -> None:
    chosen = about("SFGUNet", "sfg", 2)
    original = saved(tmp_path / "m.safetensors", chosen)
    data = chosen.to_dict()
    data["tasks"][0]["name"] = "flair"
    started = start_network(ModelSpec.from_dict(data), str(tmp_path / "m.safetensors"))
    assert not started.groups_are_fixed
    name, layer = next(iter(started.sharing_layers().items()))
    assert torch.equal(layer.weight, original.sharing_layers()[name].weight)
    with pytest.raises(SfgMedError, match="groups"):
        start_network(ModelSpec.from_dict(data), str(tmp_path / "m.safetensors"), "all")


def test_settings_are_the_initial_models(tmp_path: Path) -> None:
    chosen = about("SFGUNet", "single-task", 3, variance=True)
    saved(tmp_path / "m.safetensors", chosen)
    settings = initial_settings(str(tmp_path / "m.safetensors"))
    assert (settings["strategy"], settings["weighting"]) == ({"name": "single-task"}, "heteroscedastic")
    network = {**settings["network"], "strategy": settings["strategy"], "variance": True}
    keys = ("input_name", "tasks", "spacing_mm", "patch_size")
    assert ModelSpec.from_dict({**{k: settings[k] for k in keys}, "network": network}) == chosen
    shipped = initial_settings("demonstration")
    assert [t["name"] for t in shipped["tasks"]] == ["ct", "seg"]
    assert (shipped["strategy"], shipped["weighting"]) == ("sfg", "equal")


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    chosen = about("SFGUNet", "sfg", 2)
    original = saved(tmp_path / "m.safetensors", chosen)
    save_model(tmp_path / "seg.safetensors", original, chosen, compact=True, task="b", provenance={})
    wider = about("SFGUNet", "sfg", 2, channels=[6, 12])
    for file, network, layers, words in (
        ("none.safetensors", chosen, "all", "initial_weights a model file"),
        ("seg.safetensors", chosen, "all", "exported from"),
        ("m.safetensors", wider, "all", r"\(9, 6, 3, 3\) in the file and \(12, 6, 3, 3\) in the net"),
        ("m.safetensors", about("SFGVGG", "sfg", 2), "all", "the layers of this network"),
        ("m.safetensors", chosen, "most", "common or all"),
    ):
        with pytest.raises(SfgMedError, match=words) as caught:
            start_network(network, str(tmp_path / file), layers)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("missing", "task"), [("a", "b"), ("b", "a")])
def test_kernels_of_a_task_that_no_case_has_are_not_pushed(missing: str, task: str, tmp_path: Path) -> None:
    chosen = about("SFGUNet", "sfg", 2)
    saved(tmp_path / "m.safetensors", chosen, compact=True)
    started = start_network(chosen, str(tmp_path / "m.safetensors"), "all")
    loss = JointLoss(chosen, started, objective=VariationalObjective(weight_decay=0.0))
    targets = {
        "a": torch.randn(2, 1, 16, 16),
        "b": torch.randint(0, 2, (2, 1, 16, 16)),
        "mask": torch.ones(2, 1, 16, 16),
        "a_annotated": torch.full((2, 1), float(missing != "a")),
        "b_annotated": torch.full((2, 2), float(missing != "b")),
    }
    loss(started(image()), targets).backward()
    names = started.groups.names
    pushed = dict.fromkeys(names, 0.0)
    for layer in started.sharing_layers().values():
        assert layer.weight.grad is not None
        for index, name in enumerate(names):
            pushed[name] += layer.weight.grad[layer.kernel_groups.assignment == index].abs().sum().item()
    assert pushed[missing] == 0
    assert pushed[task] > 0
    assert pushed["a+b"] > 0
