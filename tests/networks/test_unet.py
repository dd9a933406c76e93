# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from sfg_med.networks import SFGUNet, build_network
from sfg_med.sharing import Features, GroupPolicy, KernelGroups, PathConv, SharingConv, TaskGroups
from sfg_med.spec import ModelSpec


@pytest.mark.parametrize(
    ("dims", "options", "shape"),
    [
        (2, {}, (1, 40, 24)),
        (3, {"channels": (4, 8, 8)}, (1, 17, 9, 5)),
        (3, {"channels": (4, 8, 8), "strides": ((2, 2, 1), 2), "kernel_sizes": ((3, 3, 1), 3, 3)}, (1, 16, 16, 6)),
        (3, {"channels": (4, 8), "form": "paths", "merge": "concat"}, (1, 8, 8, 8)),
        (2, {"channels": (4, 8), "policy": {"per_sample": True}}, (1, 16, 16)),
        (2, {"channels": (4, 8), "form": "paths", "policy": {"per_sample": True}}, (1, 16, 16)),
    ],
)
def test_shapes(dims: int, options: dict, shape: tuple[int, ...]) -> None:
    net = SFGUNet(dims, 1, {"ct": 1, "seg": 6}, **options).train()
    y = net(torch.randn(2, *shape))
    assert y.shape == (2, 7, *shape[1:])
    assert {k: v.shape[1] for k, v in net.split(y).items()} == {"ct": 1, "seg": 6}
    y.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_probabilities_names_and_groups_follow_the_contract() -> None:
    net = SFGUNet(3, 1, {"ct": 1, "seg": 6}, channels=(4, 8))
    assert net.groups.names == ("ct", "ct+seg", "seg")
    for name, p in net.group_probabilities().items():
        layer = net.get_submodule(name)
        assert p.shape == (layer.weight.shape[0], 3)
        torch.testing.assert_close(p.sum(-1), torch.ones(len(p)))
    name = "encoder.0.1.conv"
    net.set_groups({name: torch.tensor([0, 1, 2, 1])})
    assert net.group_probabilities()[name].argmax(-1).tolist() == [0, 1, 2, 1]
    other = SFGUNet(3, 1, {"ct": 1, "seg": 6}, channels=(4, 8))
    other.load_state_dict(net.state_dict())  # fixed groups travel with the weights
    assert torch.equal(other.group_probabilities()[name], net.group_probabilities()[name])


@pytest.mark.parametrize(
    ("assignment", "error"),
    [
        ({"nowhere": torch.zeros(4, dtype=torch.long)}, KeyError),
        ({"encoder.0.1.conv": torch.zeros(3, dtype=torch.long)}, ValueError),
        ({"encoder.0.1.conv": torch.full((4,), 3)}, ValueError),
        ({"encoder.0.1.conv": torch.zeros(4)}, ValueError),
    ],
)
def test_wrong_groups_are_refused(assignment: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        SFGUNet(2, 1, {"ct": 1, "seg": 2}, channels=(4, 8)).set_groups(assignment)


def test_a_posterior_draw_is_held_and_seeded_and_leaves_the_random_state_alone() -> None:
    net = SFGUNet(2, 1, {"ct": 1, "seg": 2}, channels=(8, 8), group_init="uniform").eval()
    x = torch.randn(1, 1, 16, 16)
    calm = net(x)
    state = torch.get_rng_state()

    def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        with net.posterior_draw(torch.Generator().manual_seed(seed)):
            return net(x), net(x)

    first, again = draw(1)
    assert torch.equal(first, again)
    assert torch.equal(first, draw(1)[0])
    assert not torch.equal(first, draw(2)[0])
    assert torch.equal(net(x), calm)
    assert torch.equal(torch.get_rng_state(), state)


def test_per_sample_draws_equal_a_loop_over_the_samples() -> None:
    groups, policy = TaskGroups.make(("a", "b")), GroupPolicy()
    layer = SharingConv(2, 3, 5, KernelGroups(5, groups, policy))
    x = torch.randn(4, 3, 8, 8)
    into = torch.softmax(torch.randn(4, 3, 3), -1)
    out = torch.softmax(torch.randn(4, 5, 3), -1)
    layer.kernel_groups._held = out
    y = layer(Features((x,), into)).maps[0]
    for i in range(4):
        layer.kernel_groups._held = out[i]
        torch.testing.assert_close(layer(Features((x[i : i + 1],), into[i])).maps[0], y[i : i + 1])


def test_soft_paths_are_what_the_paper_writes() -> None:
    """F_1 = h([F_1 + F_s] * (z_1 W)), F_s = h(F_s * (z_s W)), F_2 = h([F_2 + F_s] * (z_2 W)); methods.md 1.1, 1.2."""
    groups, policy = TaskGroups.make(("a", "b")), GroupPolicy(mode="mean")
    layer = PathConv(2, 3, 4, KernelGroups(4, groups, policy, init="dirichlet"), bias=False).train()
    one, shared, two = torch.randn(3, 2, 3, 8, 8)
    z = layer.kernel_groups.probabilities()
    masked = [layer.weight * z[:, g, None, None, None] for g in range(3)]
    expected = [
        torch.conv2d(one + shared, masked[0], padding=1),
        torch.conv2d(shared, masked[1], padding=1),
        torch.conv2d(two + shared, masked[2], padding=1),
    ]
    for found, wanted in zip(layer(Features((one, shared, two))).maps, expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_factory_refuses_what_it_does_not_know() -> None:
    from sfg_med.errors import SfgMedError

    with pytest.raises(SfgMedError, match="SFGUNet"):
        build_network(ModelSpec(network={"name": "Transformer"}))
    with pytest.raises(SfgMedError, match="channles"):
        build_network(ModelSpec(network={"name": "SFGUNet", "channles": [4, 8]}))


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_exported_programs_agree_with_the_network() -> None:
    net = SFGUNet(2, 1, {"ct": 1, "seg": 2}, channels=(4, 8)).eval()
    x = torch.randn(1, 1, 16, 16)
    program = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(program(x), net(x))
    program = torch.export.export(net.compact(), (x,)).module()
    torch.testing.assert_close(program(x), net(x), rtol=1e-4, atol=1e-5)
