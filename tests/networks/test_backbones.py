# SPDX-License-Identifier: Apache-2.0
"""VGG-11 and HighResNet: which kernels a loss reaches, log-variances, batch statistics, wrong arguments."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfg_med.networks import SFGVGG, SFGHighResNet
from sfg_med.sharing import SharingConv
from tests.networks.backbone_networks import GROUP_IDS, GROUPS, KINDS, THREE, TWO, image, make, of_all_groups


def reached(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(torch.count_nonzero(gradient))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tasks", "groups"), GROUPS, ids=GROUP_IDS)
@pytest.mark.parametrize(
    "form",
    [{}, {"form": "paths"}, {"form": "paths", "merge": "concat", "remask_paths": False}],
    ids=["formula", "paths", "paper"],
)
def test_a_loss_gives_exactly_zero_gradient_to_groups_without_its_task(
    kind: str, tasks: dict[str, int], groups: str, form: dict[str, Any]
) -> None:
    net = of_all_groups(kind, tasks, groups, **form)
    x = image(kind)
    for index, task in enumerate(tasks):
        net.zero_grad()
        (net.split(net(x))[task] ** 2).sum().backward()
        holds = net.groups.holds[index]
        for name, layer in net.named_modules():
            if isinstance(layer, SharingConv) and layer.kernel_groups.distribution is not None:
                foreign = ~holds[layer.kernel_groups.decided()]
                assert foreign.any()
                assert torch.count_nonzero(layer.weight.grad[foreign]) == 0, name
                assert reached(layer.weight.grad[~foreign]), name
        for name, p in net.named_parameters():  # what belongs to a path as a whole
            path = re.search(r"\.(?:copies|merges)\.(\d+)\.", name)
            if path and not holds[int(path[1])]:
                assert not reached(p.grad), name
            elif path and name.endswith("weight") and p.dim() > 1 and not name.startswith("head"):
                assert reached(p.grad), name


def test_kernels_of_a_residual_block_keep_to_the_groups_of_their_channels() -> None:
    net = of_all_groups("highres-2d", THREE, "lattice")
    x = image("highres-2d")
    for index, task in enumerate(THREE):
        net.zero_grad()
        net.split(net(x))[task].sum().backward()
        for stage in (0, 1):
            foreign = ~net.groups.holds[index][net.assignments()[f"convs.{stage}.conv"]]
            for block in net.residuals[stage]:
                for layer in block.layers:
                    assert torch.count_nonzero(layer.conv.weight.grad[foreign]) == 0
                    assert torch.count_nonzero(layer.conv.weight.grad[~foreign]) > 0
                    assert torch.count_nonzero(layer.norm.weight.grad[foreign]) == 0
    assert set(net.assignments()) == {f"convs.{i}.conv" for i in range(3)}, "residual blocks learn nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_log_variances_come_last_and_train_their_tasks_kernels_only(kind: str) -> None:
    net = of_all_groups(kind, THREE, variance=True)
    x = image(kind)
    output = net(x)
    assert output.shape[1] == 4 + 3
    parts = net.split(output)
    assert list(parts) == ["a", "b", "c", "a_log_variance", "b_log_variance", "c_log_variance"]
    assert torch.equal(parts["b"], output[:, 1:3])
    assert torch.equal(parts["a_log_variance"], output[:, 4:5])
    assert torch.equal(parts["c_log_variance"], output[:, 6:7])
    for index, task in enumerate(THREE):
        net.zero_grad()
        net.split(net(x))[f"{task}_log_variance"].sum().backward()
        for name, layer in net.sharing_layers().items():
            foreign = ~net.groups.holds[index][net.assignments()[name]]
            assert torch.count_nonzero(layer.weight.grad[foreign]) == 0
            assert torch.count_nonzero(layer.weight.grad[~foreign]) > 0
        rows = net.head.weight.grad.flatten(1).abs().sum(1).nonzero().flatten().tolist()
        assert rows == [4 + index]


@pytest.mark.parametrize("kind", KINDS)
def test_batch_statistics_count_at_test_time_too(kind: str) -> None:
    net = make(kind, TWO, policy={"mode": "argmax"})
    x = image(kind)
    trained = net.train()(x)
    assert torch.equal(net.eval()(x), trained)
    assert (net(x[:1]) - trained[:1]).abs().max() > 1e-3, "another batch, another output"
    assert not any("running" in name for name in net.state_dict())


@pytest.mark.parametrize(
    ("make_wrong", "said"),
    [
        (lambda: SFGVGG(channels=(4, 4, 4), blocks=(1, 1)), "blocks"),
        (lambda: SFGHighResNet(channels=(4, 4), dilations=(1,)), "dilations"),
        (lambda: SFGVGG(channels=(4, 4), blocks=(1, 1), copies=(1,)), "copies"),
        (lambda: SFGHighResNet(channels=(4, 4), dilations=(1, 0), copies=(1, 0)), "copies"),
        (lambda: SFGVGG(form="route"), "form"),
        (lambda: SFGVGG(form="paths", merge="mean", channels=(4, 4), blocks=(1, 1)), "merge"),
    ],
)
def test_arguments_that_do_not_fit_are_named(make_wrong: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_wrong()
