# SPDX-License-Identifier: Apache-2.0
"""VGG-11 and HighResNet: plain networks as special cases, and the compact form."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, conv3d, linear, max_pool2d, prelu

from tests.networks.backbone_networks import GROUP_IDS, GROUPS, HIGHRES, KINDS, THREE, TWO, VGG, image, make

CONVS = {2: conv2d, 3: conv3d}


# --- plain networks ---------------------------------------------------------------------------------------------------


def norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return batch_norm(x, None, None, state[f"{name}.weight"], state[f"{name}.bias"], training=True)


def plain_vgg(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Convolution, PReLU, batch norm; pooling before all blocks but the first."""
    for block, count in enumerate(VGG["blocks"]):
        x = max_pool2d(x, 2) if block else x
        for i in range(count):
            name = f"blocks.{block}.{i}"
            x = conv2d(x, state[f"{name}.conv.weight"], padding=1)
            x = norm(state, f"{name}.norms.0", prelu(x, state[f"{name}.act.weight"]))
    return linear(x.mean((2, 3)), state["head.weight"][:, :, 0, 0], state["head.bias"])


def plain_highresnet(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Convolution, batch norm, PReLU; behind it twice (twice batch norm, PReLU, dilated convolution) and the sum."""
    conv = CONVS[x.dim() - 2]
    for i, dilation in enumerate(HIGHRES["dilations"]):
        x = norm(state, f"convs.{i}.norms.0", conv(x, state[f"convs.{i}.conv.weight"], padding=1))
        x = prelu(x, state[f"convs.{i}.act.weight"])
        for block in range(2 if dilation else 0):
            change = x
            for half in range(2):
                name = f"residuals.{i}.{block}.layers.{half}"
                change = prelu(norm(state, f"{name}.norm", change), state[f"{name}.act.weight"])
                change = conv(change, state[f"{name}.conv.weight"], padding=dilation, dilation=dilation)
            x = x + change
    return conv(x, state["head.weight"], state["head.bias"])


PLAIN: dict[str, Callable[[Mapping[str, Tensor], Tensor], Tensor]] = {
    "vgg": plain_vgg,
    "highres-2d": plain_highresnet,
    "highres-3d": plain_highresnet,
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kernels_shared_is_the_ordinary_network(kind: str) -> None:
    net = make(kind, TWO).eval()
    net.set_groups({n: torch.full_like(a, net.groups.full) for n, a in net.assignments().items()})
    x = image(kind)
    torch.testing.assert_close(net(x), PLAIN[kind](net.state_dict(), x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_all_kernels_special_are_separate_networks(kind: str) -> None:
    """Every second kernel of each layer for each task: each half is an ordinary network of its own."""
    net = make(kind, TWO).eval()
    net.set_groups({n: torch.arange(len(a)) % 2 * 2 for n, a in net.assignments().items()})  # groups 0 (a) and 2 (b)
    x = image(kind)
    expected = net.split(net(x))
    for half, (task, head) in enumerate({"a": slice(0, 1), "b": slice(1, 3)}.items()):
        own = {}
        for key, value in net.state_dict().items():
            if key.startswith("head"):
                own[key] = value[head, half::2] if value.dim() > 1 else value[head]
            elif value.dim() <= 1:
                own[key] = value[half::2]
            elif not key.endswith("rho"):
                own[key] = value[half::2] if value.shape[1] == 3 else value[half::2, half::2]
        torch.testing.assert_close(PLAIN[kind](own, x), expected[task], rtol=1e-9, atol=1e-9)


# --- compact form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tasks", "groups"), GROUPS, ids=GROUP_IDS)
def test_compact_equals_the_network_with_the_same_hard_groups(
    kind: str, tasks: dict[str, int], groups: str, variance: bool
) -> None:
    net = make(kind, tasks, groups, variance=variance).eval()
    x = image(kind)
    expected = net(x)
    compact = net.compact()
    torch.testing.assert_close(compact(x), expected, rtol=1e-9, atol=1e-9)
    stored = sum(p.numel() for p in compact.parameters())
    assert stored < sum(p.numel() for n, p in net.named_parameters() if not n.endswith("rho"))
    values = net.split(expected)
    for task in tasks:
        single = net.compact(task=task)
        wanted = {k: v for k, v in values.items() if k.removesuffix("_log_variance") == task}
        found = single.split(single(x))
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
        assert sum(p.numel() for p in single.parameters()) < stored


def test_compact_residual_blocks_have_the_groups_of_the_convolution_before() -> None:
    compact = make("highres-2d", THREE, "lattice").compact()
    for stage in (0, 1):
        own = compact.convs[stage].conv.assignment
        assert all(a <= b for a, b in pairwise(own.tolist())), "sorted by group"
        for block in compact.residuals[stage]:
            assert all(torch.equal(layer.conv.assignment, own) for layer in block.layers)
    assert list(compact.group_probabilities()) == [f"convs.{i}.conv" for i in range(3)]
