# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy import stats

from sfg_med.networks import SFGUNet
from sfg_med.sharing import (
    GroupDistribution,
    GroupingSchedule,
    GroupPolicy,
    TaskGroups,
    TemperatureSchedule,
    VariationalObjective,
    initial_probabilities,
    membership,
)

P = torch.tensor([[0.2, 0.6, 0.2], [0.05, 0.05, 0.9], [1 / 3, 1 / 3, 1 / 3]])


def draws(policy: GroupPolicy, count: int = 20_000) -> torch.Tensor:
    return membership(P.repeat(count, 1), policy, training=True, batch=1).reshape(count, *P.shape)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_hard_draws_have_the_frequencies_of_p_at_any_temperature(temperature: float) -> None:
    counts = draws(GroupPolicy(hard=True, temperature=temperature)).sum(0).numpy()
    for observed, p in zip(counts, P.numpy(), strict=True):
        assert stats.chisquare(observed, p / p.sum() * observed.sum()).pvalue > 1e-4


def test_noise_on_p_draws_from_softmax_p_as_the_released_code_does() -> None:
    counts = draws(GroupPolicy(hard=True, noise_on="p")).mean(0)
    torch.testing.assert_close(counts, P.softmax(-1), atol=0.015, rtol=0)
    # methods.md 1.4: [0.2, 0.6, 0.2] gives 0.286 / 0.427 / 0.286
    np.testing.assert_allclose(counts[0], [0.286, 0.427, 0.286], atol=0.015)


def test_soft_draws_follow_the_gumbel_softmax_formula() -> None:
    torch.manual_seed(3)
    soft = membership(P, GroupPolicy(hard=False, temperature=0.7), training=True, batch=1).numpy()
    torch.manual_seed(3)
    noise = -torch.empty(3, 3).exponential_().log().numpy()
    scores = np.exp((np.log(P.numpy()) + noise) / 0.7)
    np.testing.assert_allclose(soft, scores / scores.sum(1, keepdims=True), rtol=1e-5)


def test_deterministic_rules() -> None:
    def rule(mode: str, temperature: float = 0.5) -> torch.Tensor:
        return membership(P, GroupPolicy(mode=mode, temperature=temperature), training=True, batch=1)

    assert torch.equal(rule("mean"), P)
    assert rule("argmax")[:2].argmax(-1).tolist() == [1, 2]
    assert rule("argmax").sum(-1).tolist() == [1, 1, 1]
    squared = P**2 / (P**2).sum(-1, keepdim=True)  # softmax(log p / 0.5)
    torch.testing.assert_close(rule("annealed"), squared)


def test_draws_per_sample_differ_within_a_batch_and_eval_is_deterministic() -> None:
    policy = GroupPolicy(per_sample=True)
    drawn = membership(P.repeat(30, 1), policy, training=True, batch=4)
    assert drawn.shape == (4, 90, 3)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(membership(P, policy, training=False, batch=4), membership(P, policy, training=False, batch=4))


def test_straight_through_gradient_is_that_of_the_soft_draw() -> None:
    def gradient(hard: bool) -> torch.Tensor:
        torch.manual_seed(1)
        p = P.clone().requires_grad_()
        weights = torch.arange(9.0).reshape(3, 3)
        (membership(p, GroupPolicy(hard=hard, temperature=0.5), training=True, batch=1) * weights).sum().backward()
        assert p.grad is not None
        return p.grad

    torch.testing.assert_close(gradient(True), gradient(False))


def test_p_starts_at_its_initial_value_and_stays_on_the_simplex() -> None:
    groups = TaskGroups.make(("a", "b", "c"), "lattice")
    start = initial_probabilities(groups, 50, "dirichlet")
    distribution = GroupDistribution(start)
    torch.testing.assert_close(distribution(), start / start.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        distribution.rho.copy_(torch.randn_like(distribution.rho) * 50)
    p = distribution()
    assert torch.isfinite(p.log()).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(50))


def test_temperature_follows_the_paper_and_any_run_length() -> None:
    paper = TemperatureSchedule()
    assert paper(0) == 1.0
    assert paper(200_000) == pytest.approx(0.135, abs=5e-4)  # methods.md 1.4
    assert paper(300_000) == 0.1
    short = TemperatureSchedule.reaching(0.1, 500)
    assert short(250) == pytest.approx(0.1**0.5)
    assert short(500) == pytest.approx(0.1)
    assert short(900) == 0.1


def test_schedule_freezes_the_likeliest_groups_from_its_iteration_on() -> None:
    net = SFGUNet(2, 1, {"a": 1, "b": 1}, channels=(4, 6), group_init="dirichlet")
    schedule = GroupingSchedule(TemperatureSchedule.reaching(0.1, 10), freeze_at=10)
    schedule.apply(net, 9)
    likeliest = net.assignments()
    assert all(((p > 0) & (p < 1)).all() for p in net.group_probabilities().values())
    schedule.apply(net, 10)
    assert net.policy.temperature == pytest.approx(0.1)
    for name, p in net.group_probabilities().items():
        assert torch.equal(p.argmax(-1), likeliest[name])
        assert set(p.flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("normalisation", ["sum", "mean"])
def test_penalties_match_plain_numpy(normalisation: str) -> None:
    net = SFGUNet(2, 1, {"a": 1, "b": 2}, channels=(4, 6), group_init="dirichlet")
    objective = VariationalObjective(weight_decay=0.3, entropy_weight=0.7, normalisation=normalisation)
    kernels = [w.detach().numpy().astype(float) for n, w in net.named_parameters() if n.endswith("conv.weight")]
    kernels.append(net.head.weight.detach().numpy().astype(float))
    entropies = []
    for p in net.group_probabilities().values():
        values = p.detach().numpy().astype(float)
        entropies.append(np.array([-sum(q * np.log(q) for q in row) for row in values]))
    if normalisation == "sum":
        expected = 0.3 * sum((w**2).sum() for w in kernels) - 0.7 * sum(h.sum() for h in entropies)
    else:
        expected = 0.3 * 0.5 * np.mean([(w**2).sum() for w in kernels]) - 0.7 * sum(h.mean() for h in entropies)
    assert objective(net).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{"mode": "x"}, {"noise_on": "q"}, {"temperature": 0.0}, {"eval_mode": "hard"}])
def test_wrong_rules_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        GroupPolicy(**options)
