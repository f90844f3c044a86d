# SPDX-License-Identifier: MIT
"""`Sac` with hand-written gradients: the same numbers in a fraction of the time.

    TD targets (eqs. 2, 3, 6) --> critics: forward, backward, Adam, targets' moving average
                              --> actor and temperature: forward, backward through the live critics

README.md derives the update. Losses and random numbers are those of `Sac`, and
`tests/learning/fused/test_fast_sac.py` holds the two together. What differs is how the arithmetic
reaches the processor:

- Networks run in compiled C (`kernels`), matrix products included; the products' factors are
  float32 or bfloat16. Parameters, moments, gradients, heads and sums stay in float32.
- The optimiser writes the weights in the layout that the next products read, and updates the
  targets in the same pass.
- All arguments of the C calls are built once per batch size (`_BatchBuffers`).
- Networks run one after the other, so that the activations of a forward pass are still in the cache
  in its backward pass.
- The actor's gradient passes through the cost critic only if a multiplier is not zero.

Equation numbers are those of 1812.05905; the losses are in `sac`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from walkhome.learning.fused.gradients import (
    Adam,
    BoundNetwork,
    FlatParameters,
    LayerBuffers,
    actor_network,
    critic_networks,
    is_product,
)
from walkhome.learning.fused.kernel_library import KernelArguments
from walkhome.learning.fused.kernels import Kernels
from walkhome.learning.fused.objective import Objective
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.replay import Batch
from walkhome.learning.sac import Sac, SacConfig


class FastSac(Sac):
    """Drop-in for `Sac`: the same random numbers and, up to rounding, the same results.

    A state of either loads into the other.

    Args:
        config: See `Sac`.
        sizes: See `Sac`.
        seed: See `Sac`.
        half: Factors of matrix products in bfloat16, with sums in float32.

    Raises:
        NotCompiled: There is no C compiler on this machine, or it failed.
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
        flat = FlatParameters(kernels, critics.parameters, first_rows, self.targets)
        self._critic_adam = Adam(kernels, self._critic_optimiser, 0, flat, tau)
        self._live = critic_networks(names, critics.parameters, n_critics, flat.factors)
        self._target = critic_networks(names, self.targets, n_critics, flat.factors, target=True)
        self._gradient = critic_networks(names, self._critic_adam.gradients, n_critics, None)
        tensors, n_hidden = self.actor.parameters, len(config.hidden_sizes)
        actor = FlatParameters(
            kernels, tensors, [0 if i < n_hidden else None for i in range(len(tensors))]
        )
        self._actor_adam = Adam(kernels, self._actor_optimiser, 0, actor)
        self._actor = actor_network(tensors, actor.factors)
        self._actor_gradient = actor_network(self._actor_adam.gradients)
        alpha = FlatParameters(kernels, [self.log_alpha], [None])
        self._alpha_adam = Adam(kernels, self._actor_optimiser, 1, alpha)
        self._batch_buffers: dict[int, _BatchBuffers] = {}
        self._newest: tuple[Tensor, ...] = ()

    def update(self, batch: Batch, multipliers: NDArray[np.float64]) -> None:
        """One gradient step on everything; see `Sac.update`.

        Args:
            batch: Transitions with this task's reward; read, not kept.
            multipliers: (K,) one per constraint, each at least 0.
        """
        with torch.inference_mode():
            work = self._buffers_of(len(batch.not_done))
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

    def _buffers_of(self, n: int) -> _BatchBuffers:
        if n not in self._batch_buffers:
            with torch.inference_mode(False):
                self._batch_buffers[n] = _BatchBuffers(self, n)
        return self._batch_buffers[n]

    def _learn_critics(self, work: _BatchBuffers, batch: Batch) -> None:
        kernels, from_numpy = self.kernels, torch.from_numpy
        kernels.store_input(work.store_next, from_numpy(batch.next_observation))
        work.next_actor.forward()
        self._sample(work, work.next_sample)
        for bound in work.targets:
            bound.forward()
        reward, not_done, cost = (from_numpy(x) for x in (batch.reward, batch.not_done, batch.cost))
        self._objective.compute_targets(work.target, reward, not_done, cost, self.alpha)
        kernels.store_input(work.store_batch, from_numpy(batch.observation_action))
        for bound in work.critics:
            bound.forward()
            bound.backward()
        self._critic_adam.step()
        self._newest = (work.errors, work.values[: self.config.n_critics])

    def _learn_actor(
        self, work: _BatchBuffers, batch: Batch, multipliers: NDArray[np.float64]
    ) -> None:
        kernels, n = self.kernels, self.config.n_critics
        kernels.store_input(work.store_policy, torch.from_numpy(batch.observation))
        work.actor.forward()
        log_prob = self._sample(work, work.sample)
        constrained = bool(multipliers.any())  # else the cost critic has no part in the loss
        for bound in work.policies[: n + constrained]:
            bound.forward()
        lambdas = torch.from_numpy(np.ascontiguousarray(multipliers, np.float64))
        self._objective.value_gradient(work.policy_values, n, lambdas, work.d_policy_values)
        work.d_action.zero_()
        for bound in work.policies[: n + constrained]:
            bound.backward()
            bound.add_input_gradient(work.d_action)
        self._objective.sample_backward(work.sample, self.alpha)
        work.actor.backward()
        self._actor_adam.step()
        self._alpha_adam.step()
        self._last["log_prob"] = log_prob

    def _sample(self, work: _BatchBuffers, sample: KernelArguments) -> Tensor:
        """Sample actions for the head just computed; returns their log densities, (N,)."""
        work.noise.normal_(generator=self.generator)
        self._objective.sample_actions(sample)
        log_prob: Tensor = sample.sampled[1]
        return log_prob


class _BatchBuffers:
    """All buffers that an update of N samples writes to, and the networks bound to them.

    Attributes:
        store_batch, store_next, store_policy: Arguments that copy observations into the critics'
            inputs, (N, O + A) stored: the batch's observations and actions, the next observations,
            and the batch's observations for the policy's actions.
        next_sample, sample: Arguments that sample the actions of the latter two.
        values: (n_critics + K, N) values of all critics, reward critics first.
        errors: Gradient of the critics' loss with respect to `values`: the TD errors over N.
        target: Arguments that compute the TD targets.
        policy_values: (n_critics + K, N) values of the policy's actions.
        d_policy_values: Gradient of the actor's loss with respect to `policy_values`.
        d_action: (N, A) gradient of the actor's loss with respect to the policy's actions.
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
            """Each critic's rows as columns: (N, 1), or (N, K) for the cost critic."""
            return [*(x[i : i + 1].t() for i in range(critics)), *([x[critics:].t()] if k else [])]

        self.store_batch = kernels.input_arguments(inputs, packed)
        self.store_next = kernels.input_arguments(next_inputs[:, :o])
        self.store_policy = kernels.input_arguments(policy_inputs[:, :o])
        self.values, self.errors, self.policy_values, self.d_policy_values = (
            zeros(critics + k, n) for _ in range(4)
        )
        td_target_rows, head, d_head = zeros(1 + k, n), zeros(n, 2 * a), zeros(n, 2 * a)
        self.noise, self.d_action = zeros(n, a), zeros(n, a)
        actions, bounds = (x[:, o:] for x in (next_inputs, policy_inputs)), config.log_std_range
        back = self.d_action, d_head, sac._alpha_adam.gradients[0], sac.target_entropy
        self.next_sample = objective.sample(head, self.noise, next(actions), bounds)
        self.sample = objective.sample(head, self.noise, next(actions), bounds, back)
        log_prob = self.next_sample.sampled[1]
        discounts = config.discount, config.cost_discount
        self.target = objective.target(self.values, log_prob, td_target_rows, critics, discounts)

        def buffers() -> LayerBuffers:
            return LayerBuffers(kernels, n, config.hidden_sizes)

        shared, acting = buffers(), buffers()
        own = [*(buffers() for _ in sac._live[1:]), shared]
        values = rows(self.values)
        self.targets = [
            BoundNetwork(kernels, network, shared, next_inputs, row)
            for network, row in zip(sac._target, values, strict=True)
        ]
        td_targets = [*([td_target_rows[:1].t()] * critics), td_target_rows[1:].t()]
        self.critics = [
            BoundNetwork(
                kernels, live, shared, inputs, row, d_row, (packed, gradient), (td_target, 1.0 / n)
            )
            for live, row, d_row, gradient, td_target in zip(
                sac._live, values, rows(self.errors), sac._gradient, td_targets, strict=False
            )
        ]
        self.policies = [
            BoundNetwork(kernels, live, mine, policy_inputs, row, d_row)
            for live, mine, row, d_row in zip(
                sac._live, own, rows(self.policy_values), rows(self.d_policy_values), strict=True
            )
        ]
        self.next_actor = BoundNetwork(kernels, sac._actor, acting, next_inputs[:, :o], head)
        gradient = packed, sac._actor_gradient
        policy_observations = policy_inputs[:, :o]
        self.actor = BoundNetwork(
            kernels, sac._actor, acting, policy_observations, head, d_head, gradient
        )
