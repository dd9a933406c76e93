# SPDX-License-Identifier: Apache-2.0
"""From probabilities to the membership matrix of a step: sampled, averaged, annealed or decided."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import gumbel_softmax, one_hot

from sfg_med.sharing.distribution import EPS

MODES = ("gumbel", "annealed", "mean", "argmax")
NOISE_ON = ("log_p", "p")


@dataclass
class GroupPolicy:
    """How all stochastic layers of a network turn p into memberships. One object, shared by the layers.

    Args:
        mode: rule in training mode. ``"gumbel"`` draws Gumbel-softmax samples (the paper); ``"annealed"`` is
            softmax(log p / temperature) without noise; ``"mean"`` uses p itself; ``"argmax"`` the likeliest group.
        eval_mode: the rule in evaluation mode; deterministic unless set to ``"gumbel"``.
        temperature: Gumbel-softmax or annealing temperature tau.
        hard: straight-through draws (one-hot forward, soft backward) instead of soft ones. The paper's text speaks
            of soft samples; its released code defaults to hard ones (methods.md 1.4).
        noise_on: ``"log_p"`` is the paper's equation; ``"p"`` adds the noise to p as the released code does.
        per_sample: draw for each sample of the batch (the paper's loss) instead of once for the batch (its code).
    """

    mode: str = "gumbel"
    eval_mode: str = "argmax"
    temperature: float = 1.0
    hard: bool = True
    noise_on: str = "log_p"
    per_sample: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("eval_mode", self.eval_mode, MODES),
            ("noise_on", self.noise_on, NOISE_ON),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}, got {value!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")


def membership(probabilities: Tensor, policy: GroupPolicy, *, training: bool, batch: int) -> Tensor:
    """Membership of kernels in groups for one forward pass.

    Randomness comes from torch's global generator, so that a checkpointed random state resumes the same draws.

    Args:
        probabilities: ``(K, G)``, rows sum to 1.
        policy: the rule.
        training: picks ``policy.mode`` or ``policy.eval_mode``.
        batch: number of samples B, used when drawing per sample.

    Returns:
        ``(K, G)``, or ``(B, K, G)`` for draws per sample; rows sum to 1.
    """
    mode = policy.mode if training else policy.eval_mode
    if mode == "mean":
        return probabilities
    if mode == "argmax":
        return one_hot(probabilities.argmax(-1), probabilities.shape[-1]).to(probabilities.dtype)
    log_p = probabilities.clamp_min(EPS).log()
    if mode == "annealed":
        return torch.softmax(log_p / policy.temperature, -1)
    logits = log_p if policy.noise_on == "log_p" else probabilities
    if policy.per_sample:
        logits = logits.expand(batch, *logits.shape)
    return gumbel_softmax(logits, tau=policy.temperature, hard=policy.hard)
