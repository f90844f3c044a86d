# SPDX-License-Identifier: MIT
"""`Sac` with the gradients written out: the same numbers in a fraction of the time.

    targets (eqs. 2, 3, 6) --> critics: forward, backward, Adam
                           --> actor and temperature: forward, backward through the live critics
                           --> targets follow

What is learnt, and from which random numbers, is `Sac`'s own;
`tests/learning/fused/test_fast_sac.py`
holds the two together. What differs is how the arithmetic reaches the processor:

- Networks run in compiled C (`kernels`), products included; their factors are float32 or bfloat16.
  Parameters, moments, gradients, heads and sums stay in float32.
- The optimiser leaves the weights as the next products read them, and moves the targets while it
  is there.
- All that a call needs is put together once per batch size (`_Workspace`).
- One network after the other, so that what it keeps for its way back is still in the cache.
- The actor's gradient passes through the cost critic only if a constraint has a price.

Equation numbers are those of 1812.05905; the losses they belong to are in `sac`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from walkhome.learning.fused.gradients import (
    Adam,
    Bound,
    Buffers,
    Flat,
    actor_network,
    critic_networks,
    is_product,
)
from walkhome.learning.fused.kernel_library import Job
from walkhome.learning.fused.kernels import Kernels
from walkhome.learning.fused.objective import Objective
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.replay import Batch
from walkhome.learning.sac import Sac, SacConfig


class FastSac(Sac):
    """Drop-in for `Sac`: the same draws and, up to rounding, the same numbers, without autograd.

    A state of the one loads into the other.

    Args:
        config: See `Sac`.
        sizes: See `Sac`.
        seed: See `Sac`.
        half: Matrix products in bfloat16, with sums in float32.

    Raises:
        NotCompiled: There is no C compiler here.
    """

    def __init__(
        self,
        config: SacConfig,
        sizes: NetworkSizes,
        seed: int,
        half: bool = False,
    ) -> None:
        super().__init__(config, sizes, seed)
        self.kernels = kernels = Kernels(torch.bfloat16 if half else torch.get_default_dtype())
        self._objective = Objective(kernels)
        critics, n_critics, tau = self.critics, config.n_critics, config.tau
        names, rows = critics.names, {"hidden0.weight": sizes.observation}
        first_rows = [rows.get(name, 0) if is_product(name) else None for name in names]
        flat = Flat(kernels, critics.parameters, first_rows, self.targets)
        self._critic_adam = Adam(kernels, self._critic_optimiser, 0, flat, tau)
        self._live = critic_networks(names, critics.parameters, n_critics, flat.factors)
        self._target = critic_networks(names, self.targets, n_critics, flat.factors, target=True)
        self._gradient = critic_networks(names, self._critic_adam.gradients, n_critics, None)
        tensors, n_hidden = self.actor.parameters, len(config.hidden_sizes)
        actor = Flat(kernels, tensors, [0 if i < n_hidden else None for i in range(len(tensors))])
        self._actor_adam = Adam(kernels, self._actor_optimiser, 0, actor)
        self._actor = actor_network(tensors, actor.factors)
        self._actor_gradient = actor_network(self._actor_adam.gradients)
        alpha = Flat(kernels, [self.log_alpha], [None])
        self._alpha_adam = Adam(kernels, self._actor_optimiser, 1, alpha)
        self._workspaces: dict[int, _Workspace] = {}
        self._newest: tuple[Tensor, ...] = ()

    def update(self, batch: Batch, multipliers: NDArray[np.float64]) -> None:
        """One gradient step on everything; see `Sac.update`.

        Args:
            batch: Transitions with this task's reward; read, not kept.
            multipliers: (K,) one per constraint, each at least 0.
        """
        with torch.inference_mode():
            work = self._workspace(len(batch.not_done))
            self._learn_critics(work, batch)
            self.updates += 1
            if self.updates % self.config.actor_every == 0:
                self._learn_actor(work, batch, multipliers)

    def metrics(self) -> dict[str, float]:
        """Numbers of the newest update; computed only when asked for."""
        if self._newest:
            errors, self._last["q_mean"] = self._newest
            self._last["critic_loss"] = 0.5 * len(errors[0]) * errors.square().sum()
        return super().metrics()

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue exactly where `state_dict` was taken, here or in `Sac`.

        Raises:
            ValueError: A tensor is missing, unknown, or has another shape or type.
        """
        super().load_state_dict(state)
        for adam in (self._critic_adam, self._actor_adam, self._alpha_adam):
            adam.adopt()

    def _workspace(self, n: int) -> _Workspace:
        if n not in self._workspaces:
            with torch.inference_mode(False):
                self._workspaces[n] = _Workspace(self, n)
        return self._workspaces[n]

    def _learn_critics(self, work: _Workspace, batch: Batch) -> None:
        kernels, from_numpy = self.kernels, torch.from_numpy
        kernels.take_in(work.take_next, from_numpy(batch.next_observation))
        work.next_actor.forward()
        self._draw(work, work.next_sample)
        for bound in work.targets:
            bound.forward()
        reward, not_done, cost = (from_numpy(x) for x in (batch.reward, batch.not_done, batch.cost))
        self._objective.targets(work.target, reward, not_done, cost, self.alpha)
        kernels.take_in(work.take_inputs, from_numpy(batch.observation_action))
        for bound in work.critics:
            bound.forward()
            bound.backward()
        self._critic_adam.step()
        self._newest = (work.errors, work.values[: self.config.n_critics])

    def _learn_actor(
        self, work: _Workspace, batch: Batch, multipliers: NDArray[np.float64]
    ) -> None:
        kernels, n = self.kernels, self.config.n_critics
        kernels.take_in(work.take_policy, torch.from_numpy(batch.observation))
        work.actor.forward()
        log_prob = self._draw(work, work.sample)
        priced = bool(multipliers.any())  # without a price the cost critic has no say
        for bound in work.policies[: n + priced]:
            bound.forward()
        prices = torch.from_numpy(np.ascontiguousarray(multipliers, np.float64))
        self._objective.slopes(work.policy_values, n, prices, work.slopes)
        work.d_action.zero_()
        for bound in work.policies[: n + priced]:
            bound.backward()
            bound.add_input_gradient(work.d_action)
        self._objective.draw_back(work.sample, self.alpha)
        work.actor.backward()
        self._actor_adam.step()
        self._alpha_adam.step()
        self._last["log_prob"] = log_prob

    def _draw(self, work: _Workspace, sample: Job) -> Tensor:
        """Draw the actor's actions for the head just computed; their log densities, (N,)."""
        work.noise.normal_(generator=self.generator)
        self._objective.draw(sample)
        log_prob: Tensor = sample.drawn[1]
        return log_prob


class _Workspace:
    """Every buffer that an update of N samples writes to, and the networks bound to them.

    Attributes:
        take_inputs, take_next, take_policy: Ways of observations into the critics' inputs, (N, O +
            A) stored: the batch, what follows it, and the batch with the actor's actions.
        next_sample, sample: What fills in the actions that the latter two lack.
        values: (n_critics + K, N) values of all critics, reward critics first.
        errors: Likewise, the loss's gradient by them: their errors over N.
        target: What they should be.
        policy_values: Likewise, values of the policy's actions; `slopes`: the actor's loss's
            gradient by them.
        d_action: (N, A) that by the actor's actions.
    """

    def __init__(self, sac: FastSac, n: int) -> None:
        kernels, objective = sac.kernels, sac._objective
        config, critics = sac.config, sac.config.n_critics
        o, a, k = sac.sizes.observation, sac.sizes.action, sac.sizes.constraints
        inputs, next_inputs, policy_inputs = (
            kernels.stored(n, o + a)[:n, : o + a] for _ in range(3)
        )
        packed = kernels.packed(n, o + a)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=kernels.real)

        def rows(x: Tensor) -> list[Tensor]:
            """Each critic's part, (N, 1), or (N, K) for the cost critic."""
            return [*(x[i : i + 1].t() for i in range(critics)), *([x[critics:].t()] if k else [])]

        self.take_inputs = kernels.intake(inputs, packed)
        self.take_next = kernels.intake(next_inputs[:, :o])
        self.take_policy = kernels.intake(policy_inputs[:, :o])
        self.values, self.errors, self.policy_values, self.slopes = (
            zeros(critics + k, n) for _ in range(4)
        )
        wanted, head, d_head = zeros(1 + k, n), zeros(n, 2 * a), zeros(n, 2 * a)
        self.noise, self.d_action = zeros(n, a), zeros(n, a)
        actions, bounds = (x[:, o:] for x in (next_inputs, policy_inputs)), config.log_std_range
        back = self.d_action, d_head, sac._alpha_adam.gradients[0], sac.target_entropy
        self.next_sample = objective.sample(head, self.noise, next(actions), bounds)
        self.sample = objective.sample(head, self.noise, next(actions), bounds, back)
        log_prob = self.next_sample.drawn[1]
        discounts = config.discount, config.cost_discount
        self.target = objective.target(self.values, log_prob, wanted, critics, discounts)

        def buffers() -> Buffers:
            return Buffers(kernels, n, config.hidden_sizes)

        shared, acting = buffers(), buffers()
        own = [*(buffers() for _ in sac._live[1:]), shared]
        values = rows(self.values)
        self.targets = [
            Bound(kernels, network, shared, next_inputs, row)
            for network, row in zip(sac._target, values, strict=True)
        ]
        aims = [*([wanted[:1].t()] * critics), wanted[1:].t()]
        self.critics = [
            Bound(kernels, live, shared, inputs, row, d_row, (packed, gradient), (aim, 1.0 / n))
            for live, row, d_row, gradient, aim in zip(
                sac._live, values, rows(self.errors), sac._gradient, aims, strict=False
            )
        ]
        self.policies = [
            Bound(kernels, live, mine, policy_inputs, row, d_row)
            for live, mine, row, d_row in zip(
                sac._live, own, rows(self.policy_values), rows(self.slopes), strict=True
            )
        ]
        self.next_actor = Bound(kernels, sac._actor, acting, next_inputs[:, :o], head)
        gradient = packed, sac._actor_gradient
        policy_observations = policy_inputs[:, :o]
        self.actor = Bound(kernels, sac._actor, acting, policy_observations, head, d_head, gradient)
