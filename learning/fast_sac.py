# SPDX-License-Identifier: MIT
"""`Sac` with the gradients written out: the same numbers in two thirds of the time.

    targets (eqs. 2, 3, 6) --> critics: forward, backward, one Adam call
                           --> actor and temperature: forward, backward through the live critics
                           --> targets follow

What is learnt, and from which random numbers, is `Sac`'s own; `tests/learning/test_fast_sac.py`
holds the two together. What differs is how the arithmetic reaches the processor:

- Products write into buffers kept from update to update, and gradients into tensors of their own:
  fresh memory costs autograd more time than the products leave to lose.
- One network after the other, so that what it keeps for its backward pass is still in the cache.
- Values lie as (outputs, N), not (N, outputs): thin products are quicker that way round.
- Each optimiser's step is one call, on lists that are put together once.

Equation numbers are those of 1812.05905; the losses they belong to are in `sac`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from learning.replay import Batch
from learning.sac import Sac, SacConfig, cost_target, critic_loss, reward_target

_LOG_2 = math.log(2.0)
_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)
_EPSILON = 1e-5  # of torch.nn.LayerNorm

Network = list[list[Tensor]]
"""One critic: per hidden layer the weight (in, out), the bias and, if normalised, gain and shift,
each (out,); then the head's weight (outputs, in) and bias (outputs,). Or the gradients of all."""


def _networks(names: Sequence[str], tensors: Sequence[Tensor], n_critics: int) -> list[Network]:
    """Views of the critics one by one, out of what `networks.Critics` stacks; cost critic last."""
    named = {name: tensor.detach() for name, tensor in zip(names, tensors, strict=True)}
    hidden = dict.fromkeys(n.split(".")[0] for n in names if n.startswith("hidden"))
    networks: list[Network] = []
    for i in range(n_critics + ("cost.weight" in named)):
        network = []
        for layer in hidden:
            own = [named.get(f"{layer}.{part}") for part in ("weight", "bias", "gain", "shift")]
            weight, *rest = (stack[i] for stack in own if stack is not None)
            network.append([weight, *(row[0] for row in rest)])
        if i < n_critics:
            network.append([named["reward.weight"][i], named["reward.bias"][i]])
        else:
            network.append([named["cost.weight"], named["cost.bias"]])
        networks.append(network)
    return networks


class _Adam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980) over tensors that always step together.

    Its state lies in a `torch.optim.Adam`, under the same names, so that `Sac` saves and loads it.

    Attributes:
        gradients: Buffers like the parameters, for the caller to fill before `step`.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, group: int) -> None:
        self._optimiser = optimiser
        settings = optimiser.param_groups[group]
        self._parameters: list[Tensor] = settings["params"]
        self._learning_rate: float = settings["lr"]
        self._betas: tuple[float, float] = settings["betas"]
        self._epsilon: float = settings["eps"]
        self.gradients = [torch.zeros_like(p.detach()) for p in self._parameters]
        self._moments: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._step = torch.zeros(())

    def adopt(self) -> None:
        """Work on the optimiser's present state, from here on with one step count for all.

        Raises:
            ValueError: Some of the tensors have taken other steps than the rest.
        """
        state = self._optimiser.state
        known = [state[p] for p in self._parameters if p in state]
        steps = {float(entry["step"]) for entry in known}
        if len(steps) > 1 or len(known) not in (0, len(self._parameters)):
            raise ValueError(f"Adam's state is not of one optimiser: steps {sorted(steps)}")
        self._moments = ([], [])
        self._step = torch.tensor(steps.pop() if steps else 0.0, dtype=torch.float32)
        for entry in known:
            entry["step"] = self._step
            self._moments[0].append(entry["exp_avg"])
            self._moments[1].append(entry["exp_avg_sq"])

    def step(self) -> None:
        """One step along `gradients`."""
        if not self._moments[0]:
            with torch.inference_mode(False):
                self._begin()
        self._step += 1.0
        torch._fused_adam_(
            self._parameters,
            self.gradients,
            self._moments[0],
            self._moments[1],
            [],
            [self._step] * len(self._parameters),
            lr=self._learning_rate,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=0.0,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )

    def _begin(self) -> None:
        for p in self._parameters:
            first, second = torch.zeros_like(p.detach()), torch.zeros_like(p.detach())
            self._optimiser.state[p] = {
                "step": self._step,
                "exp_avg": first,
                "exp_avg_sq": second,
            }
        self.adopt()


class _Pass:
    """Forward and backward through one critic for N samples, in buffers of its own."""

    def __init__(self, n: int, hidden_sizes: Sequence[int], like: Tensor) -> None:
        self._linear = [like.new_empty(n, size) for size in hidden_sizes]
        self.active = list(self._linear)
        """Outputs of the hidden layers."""
        self._moments: list[tuple[Tensor, Tensor]] = [(like, like)] * len(hidden_sizes)

    def forward(self, layers: Network, x: Tensor, values: Tensor) -> None:
        """Write the values, (outputs, N), of inputs (N, O + A); keep what backward needs."""
        for i, (weight, bias, *norm) in enumerate(layers[:-1]):
            x = torch.addmm(bias, x, weight, out=self._linear[i])
            if norm:
                gain, shift = norm
                x, mean, rstd = torch.native_layer_norm(x, bias.shape, gain, shift, _EPSILON)
                self.active[i], self._moments[i] = x, (mean, rstd)
            x.relu_()
        weight, bias = layers[-1]
        torch.addmm(bias[:, None], weight, x.t(), out=values)

    def backward(
        self, layers: Network, d_values: Tensor, scratch: Sequence[Tensor], learn: bool
    ) -> Iterator[tuple[int, Tensor, Sequence[Tensor]]]:
        """From the last hidden layer to the first: its index and gradients.

        Those of its products, (N, out), and, if it is normalised, of gain and shift, each (out,).

        Args:
            layers: The critic that forward was given.
            d_values: (outputs, N) gradient of the loss with respect to its values.
            scratch: Per hidden layer an (N, out) buffer.
            learn: Whether the gradients of gain and shift are wanted.
        """
        d, weight = d_values, layers[-1][0].t()
        for i in range(len(layers) - 2, -1, -1):
            d = torch.mm(d if i < len(layers) - 2 else d.t(), weight.t(), out=scratch[i])
            d, weight = _relu_backward(d, self.active[i]), layers[i][0]
            own: Sequence[Tensor] = ()
            if len(layers[i]) > 2:
                mean, rstd = self._moments[i]
                d, *own = torch.ops.aten.native_layer_norm_backward(
                    d, self._linear[i], d.shape[1:], mean, rstd, *layers[i][2:],
                    [True, learn, learn],
                )  # fmt: skip
            yield i, d, own


def _relu_backward(gradient: Tensor, active: Tensor) -> Tensor:
    """In place: the gradient where the ReLU's output is positive, 0 elsewhere."""
    torch.ops.aten.threshold_backward.grad_input(gradient, active, 0, grad_input=gradient)
    return gradient


class _Workspace:
    """Every buffer that an update of N samples writes to."""

    def __init__(self, sac: Sac, n: int, networks: int) -> None:
        sizes, actions = sac.config.hidden_sizes, sac.action_size
        like = sac.actor.weights[0].detach()
        inputs = like.shape[1] + actions
        self.inputs = like.new_empty(n, inputs)
        self.next_inputs = like.new_empty(n, inputs)
        self.passes = [_Pass(n, sizes, like) for _ in range(networks)]
        self.scratch = [like.new_empty(n, size) for size in sizes]
        outputs = sac.config.n_critics + sac.n_constraints
        # Values at the targets, in the critic step and in the actor step: (n_critics + K, N).
        self.target_values, self.values, self.policy_values = (
            like.new_empty(outputs, n) for _ in range(3)
        )
        self.hidden = [like.new_empty(n, size) for size in sizes]
        self.head = like.new_empty(n, 2 * actions)
        self.d_head = torch.empty_like(self.head)
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
        self._critic_adam = _Adam(self._critic_optimiser, 0)
        self._actor_adam = _Adam(self._actor_optimiser, 0)
        self._alpha_adam = _Adam(self._actor_optimiser, 1)
        self._live, self._target, self._gradient = (
            _networks(self.critics.names, tensors, config.n_critics)
            for tensors in (self.critics.parameters, self.targets, self._critic_adam.gradients)
        )
        self._workspaces: dict[int, _Workspace] = {}
        self._newest: tuple[Tensor, Tensor] | None = None

    def update(self, batch: Batch, multipliers: NDArray[np.float64]) -> None:
        """One gradient step on everything; see `Sac.update`.

        Args:
            batch: Transitions with this task's reward; read, not kept.
            multipliers: (K,) one per constraint, each at least 0.
        """
        n = len(batch.not_done)
        if n not in self._workspaces:
            self._workspaces[n] = _Workspace(self, n, len(self._live))
        with torch.inference_mode():
            self._critic_step(batch)
            self.updates += 1
            if self.updates % self.config.actor_every == 0:
                self._actor_step(batch, multipliers)
            torch._foreach_lerp_(self.targets, self.critics.parameters, self.config.tau)

    def metrics(self) -> dict[str, float]:
        """Numbers of the newest update; computed only when asked for."""
        if self._newest is not None:
            values, targets = self._newest
            n = self.config.n_critics
            self._last["critic_loss"] = critic_loss(
                values[:n], targets[0], values[n:].t(), targets[n:].t()
            )
        return super().metrics()

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue exactly where `state_dict` was taken, here or in `Sac`.

        Raises:
            ValueError: A tensor is missing, unknown, or has another shape or type.
        """
        super().load_state_dict(state)
        for adam in (self._critic_adam, self._actor_adam, self._alpha_adam):
            adam.adopt()

    def _rows(self, values: Tensor) -> list[Tensor]:
        """The part of each network: one row per reward critic, all others for the cost critic."""
        n = self.config.n_critics
        return [*(values[i : i + 1] for i in range(n)), values[n:]][: len(self._live)]

    def _critic_step(self, batch: Batch) -> None:
        work = self._workspaces[len(batch.not_done)]
        targets = self._bellman_targets(batch, work)
        work.inputs.copy_(torch.from_numpy(batch.observation_action))
        for layers, one, row in zip(self._live, work.passes, self._rows(work.values), strict=True):
            one.forward(layers, work.inputs, row)
        # The gradient of eq. 5 with respect to the values: their errors over N.
        d_values = (work.values - targets).div_(targets.shape[1])
        for i, row in enumerate(self._rows(d_values)):
            self._critic_backward(work, i, row)
        self._critic_adam.step()
        self._newest = (work.values, targets)
        self._last["q_mean"] = work.values[: self.config.n_critics]

    def _bellman_targets(self, batch: Batch, work: _Workspace) -> Tensor:
        """Targets of all values, (n_critics + K, N): the reward critics share theirs."""
        config, n = self.config, self.config.n_critics
        not_done = torch.from_numpy(batch.not_done)
        observation = torch.from_numpy(batch.next_observation)
        action, log_prob = self._sample(work, observation)[:2]
        torch.cat((observation, action), 1, out=work.next_inputs)
        values = work.target_values
        for layers, row in zip(self._target, self._rows(values), strict=True):
            work.passes[0].forward(layers, work.next_inputs, row)
        reward, cost = torch.from_numpy(batch.reward), torch.from_numpy(batch.cost)
        alpha = self.log_alpha.exp()
        target = reward_target(reward, not_done, values[:n], log_prob, alpha, config.discount)
        costs = cost_target(cost, not_done, values[n:].t(), config.cost_discount)
        return torch.cat((target.expand(n, -1), costs.t()))

    def _critic_backward(self, work: _Workspace, index: int, d_values: Tensor) -> None:
        """Write the gradients of one critic's parameters, given that of its values."""
        one, layers, gradients = work.passes[index], self._live[index], self._gradient[index]
        inputs = [work.inputs, *one.active]
        torch.mm(d_values, inputs[-1], out=gradients[-1][0])
        torch.sum(d_values, 1, out=gradients[-1][1])
        for i, d, norm in one.backward(layers, d_values, work.scratch, learn=True):
            weight, bias, *rest = gradients[i]
            torch.mm(inputs[i].t(), d, out=weight)
            torch.sum(d, 0, out=bias)
            for gradient, value in zip(rest, norm, strict=True):
                gradient.copy_(value)

    def _actor_step(self, batch: Batch, multipliers: NDArray[np.float64]) -> None:
        work = self._workspaces[len(batch.not_done)]
        observation = torch.from_numpy(batch.observation)
        action, log_prob, std, inside = self._sample(work, observation)
        torch.cat((observation, action), 1, out=work.inputs)
        self._action_gradient(work, multipliers)
        # Through a = tanh(u), and from log pi, whose derivative by u is 2 tanh(u) (SAC appendix C).
        alpha_n = self.log_alpha.exp() / len(action)
        d_u = work.d_action.t() * (1.0 - action.square()) + (2.0 * alpha_n) * action
        # u = mean + std * noise, and log pi holds -log std; past its bounds log std does not learn.
        d_mean, d_log_std = work.d_head.chunk(2, dim=1)
        d_mean.copy_(d_u)
        torch.mul((d_u * std).mul_(work.noise).sub_(alpha_n), inside, out=d_log_std)
        self._actor_backward(work, observation)
        self._alpha_adam.gradients[0].copy_(-(log_prob.mean() + self.target_entropy))
        for adam in (self._actor_adam, self._alpha_adam):
            adam.step()
        self._last["log_prob"] = log_prob

    def _action_gradient(self, work: _Workspace, multipliers: NDArray[np.float64]) -> None:
        """Write the gradient of -E[(min Q - sum lambda Qc) / (1 + sum lambda)], (A, N)."""
        n_critics = self.config.n_critics
        # Without a price the cost critic has no say.
        n = len(self._live) if multipliers.any() else n_critics
        networks = list(zip(self._live, work.passes, strict=True))[:n]
        for (layers, one), row in zip(networks, self._rows(work.policy_values), strict=False):
            one.forward(layers, work.inputs, row)
        scale = 1.0 / (work.inputs.shape[0] * (1.0 + float(multipliers.sum())))
        values = work.policy_values[:n_critics]
        slopes = torch.empty_like(work.policy_values)
        # As autograd has it: critics that tie for the minimum share its gradient.
        lowest = torch.eq(values, values.amin(0), out=slopes[:n_critics])
        lowest.mul_(-scale / lowest.sum(0))
        slopes[n_critics:] = torch.from_numpy(multipliers * scale)[:, None]
        work.d_action.zero_()
        for (layers, one), row in zip(networks, self._rows(slopes), strict=False):
            for i, d, _ in one.backward(layers, row, work.scratch, learn=False):
                if i == 0:
                    work.d_action.addmm_(layers[0][0][-self.action_size :], d.t())

    def _sample(
        self, work: _Workspace, observation: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `Actor.sample` gives, and what its gradient needs.

        Returns:
            Action (N, A), its log density (N,), standard deviation (N, A), and whether its
            logarithm is within its bounds (N, A).
        """
        actor, x = self.actor, observation
        for weight, bias, out in zip(actor.weights, actor.biases, work.hidden, strict=False):
            x = torch.addmm(bias, x, weight.t(), out=out).relu_()
        torch.addmm(actor.biases[-1], x, actor.weights[-1].t(), out=work.head)
        mean, raw = work.head.chunk(2, dim=1)
        log_std = raw.clamp(*actor.log_std_range)
        std = log_std.exp()
        noise = work.noise.normal_(generator=self.generator)
        u = torch.addcmul(mean, std, noise)
        squash = 2.0 * (_LOG_2 - u - functional.softplus(-2.0 * u))
        log_prob = -(0.5 * noise.square() + log_std + _HALF_LOG_2_PI + squash).sum(1)
        return u.tanh(), log_prob, std, log_std == raw

    def _actor_backward(self, work: _Workspace, observation: Tensor) -> None:
        """Write the gradients of the actor's parameters, given that of its head."""
        weights, gradients = self.actor.weights, self._actor_adam.gradients
        d = work.d_head
        for i in range(len(weights) - 1, -1, -1):
            x = work.hidden[i - 1] if i else observation
            torch.mm(d.t(), x, out=gradients[i])
            torch.sum(d, 0, out=gradients[len(weights) + i])
            if i:
                d = _relu_backward(torch.mm(d, weights[i], out=work.scratch[i - 1]), x)
