# SPDX-License-Identifier: MIT
"""`Sac` with the gradients written out: the same numbers in about three quarters of the time.

    targets (eqs. 2, 3, 6) --> critics: forward, backward, one Adam call
                           --> actor and temperature: forward, backward through the live critics
                           --> targets follow

What is learnt, and from which random numbers, is `Sac`'s own; `tests/learning/test_fast_sac.py`
holds the two together. What differs is how the arithmetic reaches the processor:

- Products write into buffers kept from update to update (`gradients`), and gradients where Adam
  reads them; each optimiser's step is one call, on lists that are put together once.
- One network after the other, so that what it keeps for its backward pass is still in the cache.
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
    Pass,
    add_action_gradient,
    critic_gradient,
    networks,
    relu_backward,
    tanh_backward,
)
from learning.replay import Batch
from learning.sac import Sac, SacConfig, cost_target, reward_target

_LOG_2 = math.log(2.0)
_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


class _Workspace:
    """Every buffer that an update of N samples writes to, and the views of it that are needed.

    Attributes:
        values: (n_critics + K, N) values of all critics, reward critics first.
        errors: Likewise, their targets, and later their errors over N.
        value_rows: Of `values`, the part of each critic: (1, N), or (K, N) for the cost critic.
        error_rows: Of `errors`, likewise.
        policy_values: (n_critics, N) values of the policy's actions.
    """

    def __init__(self, sac: Sac, n: int) -> None:
        actions, weights, critics = sac.action_size, sac.actor.weights, sac.config.n_critics
        like = weights[0].detach()
        self.inputs = like.new_empty(n, weights[0].shape[1] + actions)
        self.scratch = [like.new_empty(n, len(weight)) for weight in weights[:-1]]
        self.actor_hidden = [torch.empty_like(x) for x in self.scratch]
        self.passes = [Pass(self.scratch) for _ in range(critics)]
        self.values, self.errors = (
            like.new_empty(critics + sac.n_constraints, n) for _ in range(2)
        )
        self.value_rows, self.error_rows = (
            [*(x[i : i + 1] for i in range(critics)), *([x[critics:]] if sac.n_constraints else [])]
            for x in (self.values, self.errors)
        )
        self.policy_values = like.new_empty(critics, n)
        self.head, self.d_head = (like.new_empty(n, 2 * actions) for _ in range(2))
        self.d_action = like.new_empty(actions, n)
        self.noise = like.new_empty(n, actions)


class FastSac(Sac):
    """Drop-in for `Sac`: the same draws and, up to rounding, the same numbers, without autograd.

    A state of the one loads into the other.
    """

    def __init__(
        self,
        config: SacConfig,
        observation_size: int,
        action_size: int,
        n_constraints: int,
        seed: int,
    ) -> None:
        super().__init__(config, observation_size, action_size, n_constraints, seed)
        self._critic_adam = Adam(self._critic_optimiser, 0)
        self._actor_adam = Adam(self._actor_optimiser, 0)
        self._alpha_adam = Adam(self._actor_optimiser, 1)
        self._live, self._target, self._gradient = (
            networks(self.critics.names, tensors, config.n_critics)
            for tensors in (self.critics.parameters, self.targets, self._critic_adam.gradients)
        )
        gradients = self._actor_adam.gradients
        # Weight (out, in), the same transposed, bias, and the gradients of weight and bias.
        self._actor_layers = [
            (weight.detach(), weight.detach().t(), bias.detach(), d_weight, d_bias)
            for weight, bias, d_weight, d_bias in zip(
                self.actor.weights,
                self.actor.biases,
                gradients[: len(gradients) // 2],
                gradients[len(gradients) // 2 :],
                strict=True,
            )
        ]
        self._workspaces: dict[int, _Workspace] = {}
        self._newest: tuple[Tensor, ...] = ()

    def update(self, batch: Batch, multipliers: NDArray[np.float64]) -> None:
        """One gradient step on everything; see `Sac.update`.

        Args:
            batch: Transitions with this task's reward; read, not kept.
            multipliers: (K,) one per constraint, each at least 0.
        """
        with torch.inference_mode():
            self._critic_step(batch)
            self.updates += 1
            if self.updates % self.config.actor_every == 0:
                self._actor_step(batch, multipliers)
            torch._foreach_lerp_(self.targets, self.critics.parameters, self.config.tau)

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

    def _workspace(self, batch: Batch) -> _Workspace:
        n = len(batch.not_done)
        if n not in self._workspaces:
            self._workspaces[n] = _Workspace(self, n)
        return self._workspaces[n]

    def _critic_step(self, batch: Batch) -> None:
        work = self._workspace(batch)
        self._write_targets(batch, work)
        work.inputs.copy_(torch.from_numpy(batch.observation_action))
        one, scale = work.passes[0], 1.0 / len(work.inputs)
        for network, gradient, row, d_row in zip(
            self._live, self._gradient, work.value_rows, work.error_rows, strict=True
        ):
            one.forward(network, work.inputs, row)
            # The gradient of eq. 5 with respect to the values: their errors over N.
            torch.sub(row, d_row, out=d_row).mul_(scale)
            critic_gradient(one, network, gradient, d_row)
        self._critic_adam.step()
        n = self.config.n_critics
        self._newest = (work.errors, work.values[:n])

    def _write_targets(self, batch: Batch, work: _Workspace) -> None:
        """Write the targets of all values; the reward critics share theirs."""
        config, n = self.config, self.config.n_critics
        observation = torch.from_numpy(batch.next_observation)
        action, log_prob = self._sample(work, observation)[:2]
        torch.cat((observation, action), 1, out=work.inputs)
        for network, row in zip(self._target, work.value_rows, strict=True):
            work.passes[0].forward(network, work.inputs, row)
        reward, cost = torch.from_numpy(batch.reward), torch.from_numpy(batch.cost)
        not_done, alpha = torch.from_numpy(batch.not_done), self.log_alpha.exp()
        values = work.values
        work.errors[:n] = reward_target(
            reward, not_done, values[:n], log_prob, alpha, config.discount
        )
        if self.n_constraints:
            costs = cost_target(cost, not_done, values[n:].t(), config.cost_discount)
            work.errors[n:] = costs.t()

    def _actor_step(self, batch: Batch, multipliers: NDArray[np.float64]) -> None:
        work = self._workspace(batch)
        observation = torch.from_numpy(batch.observation)
        action, log_prob, std, inside = self._sample(work, observation)
        torch.cat((observation, action), 1, out=work.inputs)
        self._action_gradient(work, multipliers)
        d_mean, d_log_std = work.d_head.chunk(2, dim=1)
        # Through a = tanh(u), and from log pi, whose derivative by u is 2 tanh(u) (SAC appendix C).
        weight = self.alpha / len(action)
        tanh_backward(work.d_action.t(), action, grad_input=d_mean)
        d_mean.add_(action, alpha=2.0 * weight)
        # u = mean + std * noise, and log pi holds -log std; past its bounds log std does not learn.
        torch.mul(d_mean, std, out=d_log_std)
        d_log_std.mul_(work.noise).sub_(weight).mul_(inside)
        self._actor_gradient(work, observation)
        self._alpha_adam.gradients[0].copy_(-(log_prob.mean() + self.target_entropy))
        self._actor_adam.step()
        self._alpha_adam.step()
        self._last["log_prob"] = log_prob

    def _action_gradient(self, work: _Workspace, multipliers: NDArray[np.float64]) -> None:
        """Write the gradient of -E[(min Q - sum lambda Qc) / (1 + sum lambda)], (A, N)."""
        n, values = self.config.n_critics, work.policy_values
        rewards = list(zip(self._live[:n], work.passes, strict=True))
        for i, (network, one) in enumerate(rewards):
            one.forward(network, work.inputs, values[i : i + 1])
        size, prices = values.shape[1], multipliers.tolist()
        scale = 1.0 / (size * (1.0 + sum(prices)))
        # As autograd has it: critics that tie for the minimum share its gradient.
        slopes = (values == values.amin(0)).to(values.dtype)
        slopes.mul_(slopes.sum(0).reciprocal_().mul_(-scale))
        work.d_action.zero_()
        for i, (network, one) in enumerate(rewards):
            add_action_gradient(one, network, slopes[i : i + 1], work.d_action)
        if any(prices):  # without a price the cost critic has no say
            network, one = self._live[n], work.passes[0]
            one.forward(network, work.inputs, None)
            slopes = values.new_tensor(prices).mul_(scale)[:, None].expand(-1, size)
            add_action_gradient(one, network, slopes, work.d_action)

    def _sample(
        self, work: _Workspace, observation: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `Actor.sample` gives, and what its gradient needs.

        Returns:
            Action (N, A), its log density (N,), standard deviation (N, A), and whether its
            logarithm is within its bounds (N, A).
        """
        x = observation
        for (_, weight_t, bias, *_), out in zip(
            self._actor_layers, (*work.actor_hidden, work.head), strict=True
        ):
            x = torch.addmm(bias, x, weight_t, out=out)
            if out is not work.head:
                x.relu_()
        mean, raw = x.chunk(2, dim=1)
        log_std = raw.clamp(*self.actor.log_std_range)
        std = log_std.exp()
        noise = work.noise.normal_(generator=self.generator)
        u = torch.addcmul(mean, std, noise)
        # Half of what `Actor.sample` sums, in place, and without its constants until after the sum.
        half = functional.softplus(u * -2.0).add_(u)
        half.sub_(log_std, alpha=0.5).addcmul_(noise, noise, value=-0.25)
        log_prob = half.sum(1).mul_(2.0).sub_(self.action_size * (_HALF_LOG_2_PI + 2.0 * _LOG_2))
        return u.tanh(), log_prob, std, log_std == raw

    def _actor_gradient(self, work: _Workspace, observation: Tensor) -> None:
        """Write the gradients of the actor's parameters, given that of its head."""
        d = work.d_head
        inputs = [observation, *work.actor_hidden]
        for i in range(len(inputs) - 1, -1, -1):
            weight, _, _, d_weight, d_bias = self._actor_layers[i]
            torch.mm(d.t(), inputs[i], out=d_weight)
            torch.sum(d, 0, out=d_bias)
            if i:
                d = torch.mm(d, weight, out=work.scratch[i - 1])
                relu_backward(d, inputs[i], 0, grad_input=d)
