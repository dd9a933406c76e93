# SPDX-License-Identifier: Apache-2.0
"""The groups of one layer's kernels: learned, fixed, or some of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sfg_med.sharing.distribution import GroupDistribution, GroupInit, initial_probabilities
from sfg_med.sharing.fixing import Reserve, fixed_groups
from sfg_med.sharing.groups import TaskGroups
from sfg_med.sharing.sampling import GroupPolicy, membership

# What a kernel's assignment says beside a group's index: its group is learned; it belongs to no group.
FREE, IDLE = -1, -2


class KernelGroups(nn.Module):
    """Membership of the K kernels of a layer in the G groups.

    Args:
        kernels: number of kernels K.
        groups: the groups.
        policy: the network's sampling rule.
        init: start of p (see :func:`initial_probabilities`); ignored when ``fixed`` is given.
        fixed: ``(K,)`` group indices of a layer that learns no groups, such as a head.
    """

    assignment: Tensor
    reads: Tensor

    def __init__(
        self,
        kernels: int,
        groups: TaskGroups,
        policy: GroupPolicy,
        *,
        init: GroupInit = "default",
        fixed: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.groups = groups
        self.policy = policy
        self.distribution = GroupDistribution(initial_probabilities(groups, kernels, init)) if fixed is None else None
        # A buffer, so that fixed groups travel with the weights.
        self.register_buffer("assignment", torch.full((kernels,), FREE) if fixed is None else fixed.long().clone())
        self.register_buffer("reads", groups.reads.float(), persistent=False)
        self._held: Tensor | None = None

    @property
    def learns(self) -> bool:
        """Whether there are probabilities, and they are trained."""
        return self.distribution is not None and self.distribution.rho.requires_grad

    def set_learning(self, learns: bool) -> None:
        """Whether training changes the probabilities."""
        if self.distribution is not None:
            self.distribution.requires_grad_(learns)

    def probabilities(self) -> Tensor:
        """``(K, G)``: p of learned kernels, one-hot rows of fixed ones, zeros for idle ones."""
        return self._fixed_or(lambda p: p)

    def decided(self) -> Tensor:
        """``(K,)``: fixed or likeliest group of each kernel, :data:`IDLE` for idle ones."""
        likeliest = self.probabilities().detach().argmax(-1)
        return torch.where(self.assignment == IDLE, self.assignment, likeliest)

    def forward(self, batch: int, incoming: Tensor | None = None) -> Tensor:
        """Membership for one forward pass: ``(K, G)``, or ``(B, K, G)`` for draws per sample.

        Args:
            batch: number of samples B.
            incoming: membership of the channels that the kernels read; unused.
        """
        if self._held is not None:
            return self._held
        return self._fixed_or(lambda p: membership(p, self.policy, training=self.training, batch=batch))

    def _fixed_or(self, rule: Callable[[Tensor], Tensor]) -> Tensor:
        """One-hot rows for fixed kernels, zeros for idle ones, ``rule(p)`` for the others."""
        fixed = one_hot(self.assignment.clamp_min(0), len(self.groups)) * (self.assignment >= 0)[:, None]
        if self.distribution is None:
            return fixed.float()
        return torch.where((self.assignment == FREE)[:, None], rule(self.distribution()), fixed.float())

    def fix(self, assignment: Tensor) -> None:
        """Fix the kernels to groups by index.

        :data:`FREE` (-1) frees a kernel to its learned p. :data:`IDLE` (-2) takes it out of all groups: no task trains
        it and no kernel reads it, as if it did not exist.

        Raises:
            ValueError: for a wrong length or an index outside the groups.
        """
        values = torch.as_tensor(assignment, device=self.assignment.device)
        if values.shape != self.assignment.shape:
            raise ValueError(f"expected {self.assignment.numel()} group indices, found shape {tuple(values.shape)}")
        if values.is_floating_point() or ((values < IDLE) | (values >= len(self.groups))).any():
            raise ValueError(f"group indices must be integers from 0 to {len(self.groups) - 1}, -1 (free) or -2 (idle)")
        if self.distribution is None and (values == FREE).any():
            raise ValueError("this layer learns no groups, so its kernels cannot be freed")
        self.assignment.copy_(values)

    def freeze(self, reserve: Reserve | None = None) -> None:
        """Fix the kernels to their likeliest groups, as far as every task has its reserve."""
        values, here = self.assignment.clone(), self.assignment != IDLE
        if bool((self.assignment == FREE).any()):
            values[here] = fixed_groups(self.probabilities()[here], self.groups, reserve)
        self.fix(values)

    @torch.no_grad()
    def hold(self, rule: GroupPolicy | None) -> None:
        """Keep one draw by this rule for all following passes; ``None`` lets go."""
        self._held = None
        if rule is not None:
            # Drawn on the CPU, so that a seed means the same on every device.
            self._held = self._fixed_or(lambda p: membership(p.cpu(), rule, training=True, batch=1).to(p.device))


class InheritedGroups(KernelGroups):
    """Kernel k belongs to the groups of input channel k: the convolutions of a residual sum, which adds them up.

    Args:
        groups: the groups.
        policy: the network's sampling rule.
    """

    def __init__(self, groups: TaskGroups, policy: GroupPolicy) -> None:
        super().__init__(0, groups, policy, fixed=torch.empty(0, dtype=torch.long))

    def forward(self, batch: int, incoming: Tensor | None = None) -> Tensor:
        """The membership of the input; none only while a network's wiring is traced."""
        return incoming  # type: ignore[return-value]
