# SPDX-License-Identifier: MIT
"""`Sac` with the gradients written out: the same numbers in a fraction of the time.

    targets (eqs. 2, 3, 6) --> critics: forward, backward, Adam
                           --> actor and temperature: forward, backward through the live critics
                           --> targets follow

What is learnt, and from which random numbers, is `Sac`'s own; `tests/learning/test_fast_sac.py`
holds the two together. What differs is how the arithmetic reaches the processor:

- Products read and write buffers kept from update to update, in float32 or bfloat16; what lies
  between them passes over memory once (`kernels`). Parameters, moments, heads and sums stay in
  float32.
- All that a call needs is put together once per batch size (`_Workspace`).
- One network after the other, so that what it keeps for its way back is still in the cache.
- The actor's gradient passes through the cost critic only if a constraint has a price.

Equation numbers are those of 1812.05905; the losses they belong to are in `sac`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from learning.gradients import (
    Adam,
    Bound,
    Buffers,
    Flat,
    actor_network,
    critic_networks,
    is_product,
)
from learning.kernels import Kernels, prefer_onednn
from learning.replay import Batch
from learning.sac import Sac, SacConfig, cost_target, reward_target

_LOG_2 = math.log(2.0)
_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)

# By its overload that writes into a buffer; looked up once.
tanh_backward = torch.ops.aten.tanh_backward.grad_input


class FastSac(Sac):
    """Drop-in for `Sac`: the same draws and, up to rounding, the same numbers, without autograd.

    A state of the one loads into the other.

    Args:
        config: See `Sac`, likewise the sizes and the seed.
        observation_size: O.
        action_size: A.
        n_constraints: K.
        seed: Of everything random.
        half: Matrix products in bfloat16, with sums in float32.

    Raises:
        NotCompiled: There is no C compiler here.
    """

    def __init__(
        self,
        config: SacConfig,
        observation_size: int,
        action_size: int,
        n_constraints: int,
        seed: int,
        half: bool = False,
    ) -> None:
        super().__init__(config, observation_size, action_size, n_constraints, seed)
        self.kernels = kernels = Kernels(torch.bfloat16 if half else torch.get_default_dtype())
        if kernels.store is torch.float32:
            prefer_onednn()
        critics, names = self.critics, self.critics.names
        factors = [is_product(name) for name in names]
        self._live_flat = Flat(kernels, critics.parameters, factors)
        self._target_flat = Flat(kernels, self.targets, factors)
        target = self._target_flat
        self._follower = kernels.follower(
            target.values, self._live_flat.values, None if target.same else target.copies
        )
        n_hidden = len(config.hidden_sizes)
        actor_factors = [i < n_hidden for i in range(len(self.actor.parameters))]
        self._actor_flat = Flat(kernels, self.actor.parameters, actor_factors)
        self._alpha_flat = Flat(kernels, [self.log_alpha], [False])
        self._critic_adam = Adam(kernels, self._critic_optimiser, 0, self._live_flat)
        self._actor_adam = Adam(kernels, self._actor_optimiser, 0, self._actor_flat)
        self._alpha_adam = Adam(kernels, self._actor_optimiser, 1, self._alpha_flat)
        self._live, self._target, self._gradient = (
            critic_networks(names, tensors, config.n_critics)
            for tensors in (
                self._live_flat.as_read(),
                self._target_flat.as_read(),
                self._critic_adam.gradients,
            )
        )
        self._actor = actor_network(self._actor_flat.as_read())
        self._actor_gradient = actor_network(self._actor_adam.gradients)
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
                self._learn_actor(work, multipliers)
            self.kernels.follow(self._follower, self.config.tau)

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
        for flat in (self._live_flat, self._target_flat, self._actor_flat):
            flat.refresh()
        for adam in (self._critic_adam, self._actor_adam, self._alpha_adam):
            adam.adopt()

    def _workspace(self, n: int) -> _Workspace:
        if n not in self._workspaces:
            with torch.inference_mode(False):
                self._workspaces[n] = _Workspace(self, n)
        return self._workspaces[n]

    def _learn_critics(self, work: _Workspace, batch: Batch) -> None:
        self._write_targets(work, batch)
        work.inputs.copy_(torch.from_numpy(batch.observation_action))
        scale = 1.0 / len(work.inputs)
        for bound, row, d_row in zip(work.critics, work.value_rows, work.error_rows, strict=True):
            bound.forward()
            # The gradient of eq. 5 with respect to the values: their errors over N.
            torch.sub(row, d_row, out=d_row).mul_(scale)
            bound.backward()
        self._critic_adam.step()
        n = self.config.n_critics
        self._newest = (work.errors, work.values[:n])

    def _write_targets(self, work: _Workspace, batch: Batch) -> None:
        """Write the targets of all values; the reward critics share theirs."""
        config, n = self.config, self.config.n_critics
        work.next_observation.copy_(torch.from_numpy(batch.next_observation))
        work.next_actor.forward()
        action, log_prob = self._sample(work)[:2]
        work.next_action.copy_(action)
        for bound in work.targets:
            bound.forward()
        reward, cost = torch.from_numpy(batch.reward), torch.from_numpy(batch.cost)
        not_done, alpha = torch.from_numpy(batch.not_done), self.log_alpha.exp()
        values = work.values
        work.errors[:n] = reward_target(
            reward, not_done, values[:n], log_prob, alpha, config.discount
        )
        if self.n_constraints:
            costs = cost_target(cost, not_done, values[n:].t(), config.cost_discount)
            work.errors[n:] = costs.t()

    def _learn_actor(self, work: _Workspace, multipliers: NDArray[np.float64]) -> None:
        work.policy_observation.copy_(work.observation)
        work.actor.forward()
        action, log_prob, std, inside = self._sample(work)
        work.policy_action.copy_(action)
        self._action_gradient(work, multipliers)
        d_mean, d_log_std = work.d_head.chunk(2, dim=1)
        # Through a = tanh(u), and from log pi, whose derivative by u is 2 tanh(u) (SAC appendix C).
        weight = self.alpha / len(action)
        tanh_backward(work.d_action.t(), action, grad_input=d_mean)
        d_mean.add_(action, alpha=2.0 * weight)
        # u = mean + std * noise, and log pi holds -log std; past its bounds log std does not learn.
        torch.mul(d_mean, std, out=d_log_std)
        d_log_std.mul_(work.noise).sub_(weight).mul_(inside)
        work.actor.backward()
        self._alpha_adam.gradients[0].copy_(-(log_prob.mean() + self.target_entropy))
        self._actor_adam.step()
        self._alpha_adam.step()
        self._last["log_prob"] = log_prob

    def _action_gradient(self, work: _Workspace, multipliers: NDArray[np.float64]) -> None:
        """Write the gradient of -E[(min Q - sum lambda Qc) / (1 + sum lambda)], (A, N)."""
        n, prices = self.config.n_critics, multipliers.tolist()
        for bound in work.policies[:n]:
            bound.forward()
        values = work.policy_values[:n]
        scale = 1.0 / (values.shape[1] * (1.0 + sum(prices)))
        # As autograd has it: critics that tie for the minimum share its gradient.
        slopes = torch.eq(values, values.amin(0)).to(values.dtype)
        torch.mul(slopes, slopes.sum(0).reciprocal_().mul_(-scale), out=work.slopes[:n])
        work.d_action.zero_()
        priced = any(prices)  # without a price the cost critic has no say
        if priced:
            for price, row in zip(prices, work.slopes[n:], strict=True):
                row.fill_(price * scale)
            work.policies[n].forward()
        for bound, network in zip(work.policies[: n + priced], self._live, strict=False):
            bound.backward()
            rows = network.hidden[0].weight[-self.action_size :]
            work.d_action.add_(torch.mm(rows, bound.d[0].t(), out=work.d_stored))

    def _sample(self, work: _Workspace) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `Actor.sample` gives for the head just computed, and what its gradient needs.

        Returns:
            Action (N, A), its log density (N,), standard deviation (N, A), and whether its
            logarithm is within its bounds (N, A).
        """
        mean, raw = work.head.chunk(2, dim=1)
        log_std = raw.clamp(*self.actor.log_std_range)
        std = log_std.exp()
        noise = work.noise.normal_(generator=self.generator)
        u = torch.addcmul(mean, std, noise)
        # Half of what `Actor.sample` sums, in place, and without its constants until after the sum.
        half = functional.softplus(u * -2.0).add_(u)
        half.sub_(log_std, alpha=0.5).addcmul_(noise, noise, value=-0.25)
        log_prob = half.sum(1).mul_(2.0).sub_(self.action_size * (_HALF_LOG_2_PI + 2.0 * _LOG_2))
        return u.tanh(), log_prob, std, log_std == raw


class _Workspace:
    """Every buffer that an update of N samples writes to, and the networks bound to them.

    Attributes:
        inputs, next_inputs, policy_inputs: (N, O + A), stored: the batch, what follows it, and the
            batch's observations with the policy's actions.
        values: (n_critics + K, N) values of all critics, reward critics first.
        errors: Likewise, their targets, and later their errors over N.
        value_rows: Of `values`, the part of each critic: (1, N), or (K, N) for the cost critic.
        error_rows: Of `errors`, likewise.
        policy_values: Likewise, values of the policy's actions; `slopes`: the loss's gradient by
            them.
        head: (N, 2 A) what the actor gives; `d_head`: the loss's gradient by it.
    """

    def __init__(self, sac: FastSac, n: int) -> None:
        kernels, sizes, critics = sac.kernels, sac.config.hidden_sizes, sac.config.n_critics
        o, a = sac.actor.weights[0].shape[1], sac.action_size
        real = kernels.real
        self.inputs, self.next_inputs, self.policy_inputs = (
            torch.zeros(n, o + a, dtype=kernels.store) for _ in range(3)
        )
        self.observation, self.next_observation, self.policy_observation = (
            x[:, :o] for x in (self.inputs, self.next_inputs, self.policy_inputs)
        )
        self.next_action, self.policy_action = self.next_inputs[:, o:], self.policy_inputs[:, o:]
        self.values, self.errors, self.policy_values, self.slopes = (
            torch.zeros(critics + sac.n_constraints, n, dtype=real) for _ in range(4)
        )
        self.head, self.d_head = (torch.zeros(n, 2 * a, dtype=real) for _ in range(2))
        self.d_action = torch.zeros(a, n, dtype=real)
        self.d_stored = torch.zeros(a, n, dtype=kernels.store)
        self.noise = torch.zeros(n, a, dtype=real)

        def rows(x: Tensor) -> list[Tensor]:
            costs = [x[critics:]] if sac.n_constraints else []
            return [*(x[i : i + 1] for i in range(critics)), *costs]

        self.value_rows, self.error_rows = rows(self.values), rows(self.errors)
        shared = Buffers(kernels, n, sizes)
        own = [*(Buffers(kernels, n, sizes) for _ in range(critics - 1)), shared]
        if sac.n_constraints:
            own.append(Buffers(kernels, n, sizes))
        acting = Buffers(kernels, n, sizes)
        self.targets = [
            Bound(kernels, network, shared, self.next_inputs, row.t())
            for network, row in zip(sac._target, self.value_rows, strict=True)
        ]
        self.critics = [
            Bound(kernels, network, shared, self.inputs, row.t(), d_row.t(), gradient)
            for network, row, d_row, gradient in zip(
                sac._live, self.value_rows, self.error_rows, sac._gradient, strict=True
            )
        ]
        self.policies = [
            Bound(kernels, network, buffers, self.policy_inputs, row.t(), d_row.t())
            for network, buffers, row, d_row in zip(
                sac._live, own, rows(self.policy_values), rows(self.slopes), strict=True
            )
        ]
        self.next_actor = Bound(kernels, sac._actor, acting, self.next_observation, self.head)
        self.actor = Bound(
            kernels,
            sac._actor,
            acting,
            self.policy_observation,
            self.head,
            self.d_head,
            sac._actor_gradient,
        )
