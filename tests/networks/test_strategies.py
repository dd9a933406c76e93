# SPDX-License-Identifier: Apache-2.0
"""Every strategy on every backbone, and mistakes in its options."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from sfg_med.errors import SfgMedError
from sfg_med.model_file import load_model, save_model
from sfg_med.networks import NETWORKS, build_network
from sfg_med.networks.strategies import STRATEGIES
from tests.networks.strategy_networks import STAGES, build, image, kernel_counts, numbers, options_of, spec


@pytest.mark.parametrize(("network", "name"), product(NETWORKS, STRATEGIES))
def test_every_strategy_works_on_every_backbone(network: str, name: str, tmp_path: Path) -> None:
    tasks = 3 if name in ("branched", "cross-stitch", "mtan", "random-masks") else 2
    about = spec(network, options_of(name, tasks), tasks)
    net = build(network, name, tasks)
    if name == "constant-p":  # drawn at test time too; compare one of its groups
        net.policy.eval_mode = "argmax"
    x = image()
    output = net.train()(x)
    assert output.shape[1] == sum(about.channels.values())
    assert torch.isfinite(output).all()
    assert len(net.stage_modules) == STAGES
    (output**2).sum().backward()
    trained = [p for p in net.parameters() if p.requires_grad]
    assert sum(bool(p.grad is not None and p.grad.abs().sum() > 0) for p in trained) > len(trained) / 2
    net.eval()
    expected = net(x)
    for compact in (False, *([] if name == "constant-p" else [True])):
        save_model(tmp_path / "model.safetensors", net, about, compact=compact, provenance={})
        model = load_model(tmp_path / "model.safetensors")
        model.network.policy.eval_mode = net.policy.eval_mode
        torch.testing.assert_close(model.network(x), expected, rtol=1e-4, atol=1e-5)
    assert [len(stage) > 0 for stage in net.stage_layers.values()] == [True] * STAGES


@pytest.mark.parametrize(("network", "name"), product(NETWORKS, STRATEGIES))
def test_output_layers_start_as_large_as_asked(network: str, name: str) -> None:
    x, outputs = image(), []
    for scale in (0.0, 0.5, 1.0):
        net = build(network, name, head_scale=scale).eval()
        torch.manual_seed(1)
        outputs.append(net(x))
    assert not outputs[0].any()
    assert outputs[2].any()
    torch.testing.assert_close(outputs[1], 0.5 * outputs[2])


def test_every_strategy_can_be_widened() -> None:
    net = build("SFGVGG", {"name": "hard-sharing", "width": 1.41}, channels=[8, 16, 32])
    assert list(kernel_counts(net).values()) == [12, 24, 44]  # 11.3, 22.6 and 45.1, in fours
    sizes = [
        numbers(build("SFGVGG", {"name": name, "width": width}, channels=[64, 64, 64]))
        for name, width in (("single-task", 1.41), ("hard-sharing", 1.0))
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
    assert build("SFGVGG", {"name": "sfg", "width": 2}).blocks[0][0].conv.weight.shape[0] == 12


def test_networks_without_a_compact_form_say_why() -> None:
    with pytest.raises(ValueError, match="drawn from constant probabilities"):
        build("SFGUNet", "constant-p", 2).compact()
    net = build("SFGUNet", "cross-stitch", 2)
    with pytest.raises(ValueError, match="reads all tasks' features"):
        net.compact(next(iter(net.tasks)))


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("sharing", "hard-sharing"),
        ({"nam": "sfg"}, "a strategy among"),
        ({"name": "hard-sharing", "shares": 1}, "shares"),
        ({"name": "branched"}, "tree"),
        ({"name": "branched", "tree": [[["a", "b"]]]}, "3 stages, got 1"),
        ({"name": "branched", "tree": [[["a"]]] * 3}, "would serve b"),
        ({"name": "branched", "tree": [[["a", "b"], ["b"]]] * 3}, "no partition"),
        ({"name": "branched", "tree": [[["a"], ["b"]], [["a", "b"]], [["a", "b"]]]}, "refine"),
        ({"name": "branched", "tree": [[["a", "x"]]] * 3}, "x"),
        ({"name": "selective-sharing", "estimator_stages": 3}, "between 1 and 2"),
        ({"name": "selective-sharing", "clusters": [["a"]]}, "refine|partition|serve b"),
        ({"name": "constant-mask", "shares": {"a": 0.5}}, "sum to 1"),
        ({"name": "constant-mask", "shares": {"a": 1.0}}, "would serve b"),
        ({"name": "constant-mask", "shares": {"a": 0.5, "z": 0.5}}, "z"),
        ({"name": "constant-p", "p": [0.5, 0.5]}, "group_init"),
        ({"name": "random-masks", "ratio": 1.5}, "ratio"),
        ({"name": "random-masks", "interval": 0}, "interval"),
        ({"name": "hard-sharing", "width": "wide"}, "width"),
        ({"name": "hard-sharing", "width": 0}, "width"),
    ],
)
def test_a_mistake_is_one_clear_line(strategy: Any, said: str) -> None:
    with pytest.raises(SfgMedError, match=said) as caught:
        build_network(spec("SFGVGG", strategy))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["single-task", "constant-mask", "cross-stitch"])
def test_too_few_channels_are_refused(name: str) -> None:
    with pytest.raises(SfgMedError, match="none of 2 kernels would serve"):
        build("SFGVGG", name, 3, channels=[2, 9, 9])
