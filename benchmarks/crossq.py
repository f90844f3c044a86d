# SPDX-License-Identifier: MIT
"""CrossQ: SAC with batch-normalised critics and without target networks.

Bhatt et al. 2024 ("CrossQ: Batch Normalization in Deep Reinforcement Learning for Greater Sample
Efficiency and Simplicity", arXiv 1902.05605):

    (s, a) and (s', a') side by side --> one forward pass, one set of batch statistics
                                     --> the first half learns, the second half is its target

Only the critics are CrossQ's: the actor, the width of the critics and the optimiser are ours, so a
comparison is of the critics alone. The normalisation, its constants and its place (the input, and
after each ReLU) are those of the authors' code in JAX (https://github.com/adityab/CrossQ): batch
renormalisation (Ioffe 2017, arXiv 1702.03275), which is plain batch normalisation for the first
`WARM_UP` updates. It replaces layer normalisation. Gradients are computed by autograd.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from walkhome.learning.networks import Critics
from walkhome.learning.sac import Sac, TensorBatch, cost_target, reward_target

EPSILON = 1e-3
KEPT = 0.99
"""Weight of the past in the running statistics, per update."""
WARM_UP = 100_000
"""Updates before batch statistics are corrected toward the running ones."""
R_MAX, D_MAX = 3.0, 5.0
"""Bounds of that correction (Ioffe 2017, algorithm 1)."""


class CrossCritics(Critics):
    """As `Critics`, with batch renormalisation before the first layer and after each ReLU.

    `values` normalises with the running statistics; `joint_values` with those of the batch, and
    updates the running ones.

    Attributes:
        statistics: By name, running means and variances, (E, 1, n), or (1, 1, n) of the input,
            which all critics share. No optimiser moves them.
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        n_critics: int,
        n_constraints: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(input_size, hidden_sizes, n_critics, n_constraints, False, generator)
        members = n_critics + (1 if n_constraints else 0)
        self.statistics: dict[str, Tensor] = {}
        self._norms = ["input", *(f"hidden{i}" for i in range(self.n_hidden))]
        for name, size in zip(self._norms, (input_size, *hidden_sizes), strict=True):
            self._add(f"{name}.gain", torch.ones(members, 1, size).requires_grad_())
            self._add(f"{name}.shift", torch.zeros(members, 1, size).requires_grad_())
            rows = 1 if name == "input" else members
            self.statistics[f"{name}.mean"] = torch.zeros(rows, 1, size)
            self.statistics[f"{name}.variance"] = torch.ones(rows, 1, size)

    def values(
        self, observation_action: Tensor, parameters: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Critics.values`; uses the running statistics and does not change them."""
        return self._forward(observation_action, parameters, None)

    def joint_values(
        self, observation_action: Tensor, next_observation_action: Tensor, renormalise: bool
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Values of two inputs in one pass, with one set of batch statistics.

        Args:
            observation_action: (N, O + A) of the batch.
            next_observation_action: (N, O + A) next observations and the policy's actions there.
            renormalise: Correct the batch statistics toward the running ones.

        Returns:
            For each input, reward values (n_critics, N) and cost values (N, K).
        """
        n = len(observation_action)
        both = torch.cat((observation_action, next_observation_action))
        reward, cost = self._forward(both, None, renormalise)
        return (reward[:, :n], cost[:n]), (reward[:, n:], cost[n:])

    def _forward(
        self, x: Tensor, parameters: Sequence[Tensor] | None, renormalise: bool | None
    ) -> tuple[Tensor, Tensor]:
        live = self.parameters if parameters is None else parameters
        p = dict(zip(self.names, live, strict=True))
        x = self._norm(x.unsqueeze(0), "input", p, renormalise)
        for i in range(self.n_hidden):
            x = torch.baddbmm(p[f"hidden{i}.bias"], x, p[f"hidden{i}.weight"]).relu()
            x = self._norm(x, f"hidden{i}", p, renormalise)
        return self._heads(x, self._head_tensors(p))

    def _head_tensors(self, p: dict[str, Tensor]) -> Iterator[Tensor]:
        kinds = ("reward", "cost") if self.n_constraints else ("reward",)
        return (p[f"{kind}.{part}"] for kind in kinds for part in ("weight", "bias"))

    def _norm(self, x: Tensor, name: str, p: dict[str, Tensor], renormalise: bool | None) -> Tensor:
        """Normalise with the running statistics if `renormalise` is None, else with the batch's."""
        running_mean = self.statistics[f"{name}.mean"]
        running_variance = self.statistics[f"{name}.variance"]
        if renormalise is None:
            x = (x - running_mean) * (running_variance + EPSILON).rsqrt()
        else:
            variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
            x = (x - mean) * (variance + EPSILON).rsqrt()
            if renormalise:
                # Ioffe 2017, algorithm 1: both without a gradient of their own.
                running = (running_variance + EPSILON).sqrt()
                r = ((variance.detach() + EPSILON).sqrt() / running).clamp(1.0 / R_MAX, R_MAX)
                d = ((mean.detach() - running_mean) / running).clamp(-D_MAX, D_MAX)
                x = x * r + d
            running_mean.lerp_(mean.detach(), 1.0 - KEPT)
            running_variance.lerp_(variance.detach(), 1.0 - KEPT)
        return torch.addcmul(p[f"{name}.shift"], x, p[f"{name}.gain"])


class CrossSac(Sac):
    """`Sac` with `CrossCritics`; a state of either does not load into the other."""

    critics: CrossCritics

    def _make_critics(self, input_size: int) -> CrossCritics:
        c = self.config
        return CrossCritics(
            input_size, c.hidden_sizes, c.n_critics, self.sizes.constraints, self.generator
        )

    def _make_targets(self) -> list[Tensor]:
        return []

    def _critic_tensors(self) -> dict[str, Tensor]:
        live = zip(self.critics.names, self.critics.parameters, strict=True)
        named = {f"critics.{name}": tensor for name, tensor in live}
        return named | {f"statistics.{name}": t for name, t in self.critics.statistics.items()}

    def _critic_step(self, batch: TensorBatch) -> None:
        config = self.config
        with torch.no_grad():
            noise = self._noise(len(batch.not_done))
            next_action, next_log_prob = self.actor.sample(batch.next_observation, noise)
        (values, cost_values), (next_values, next_costs) = self.critics.joint_values(
            batch.observation_action,
            torch.cat((batch.next_observation, next_action), 1),
            renormalise=self.updates >= WARM_UP,
        )
        with torch.no_grad():
            target = reward_target(
                batch.reward,
                batch.not_done,
                next_values,
                next_log_prob,
                self.log_alpha.exp(),
                config.discount,
            )
            target_costs = cost_target(batch.cost, batch.not_done, next_costs, config.cost_discount)
        self._descend(values, target, cost_values, target_costs)
