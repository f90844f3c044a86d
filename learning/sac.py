# SPDX-License-Identifier: MIT
"""Soft actor-critic with constraints, for one task: the readable reference.

    batch --> critic step (twin reward critics, one cost critic, one backward pass)
          --> actor and temperature step (every `actor_every`-th time)
          --> moving average of the targets

SAC is Haarnoja et al. 2018 (arXiv 1801.01290, 1812.05905). The constraints enter the actor's loss
as in Ha et al. 2020 (arXiv 2002.08550); their multipliers are arguments of `update` (`constraint`
computes them). `fused.fast_sac` does the same update with hand-written gradients, `cuda_sac` as a
CUDA graph.

Invariants: only a termination stops the bootstrap, a truncation does not; costs have no entropy
bonus; all random numbers come from the object's own generator, so equal seeds give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from walkhome.learning.networks import Actor, Critics, NetworkSizes
from walkhome.learning.replay import Batch


@dataclass(frozen=True, kw_only=True)
class SacConfig:
    """Settings of one task's networks and their update. Discounts are per control step.

    Raises:
        ValueError: A setting is out of range.
    """

    hidden_sizes: tuple[int, ...]
    """Units of each hidden layer, for actor and critics alike."""
    batch_size: int
    learning_rate: float
    """Of actor and critics."""
    temperature_learning_rate: float
    discount: float
    cost_discount: float
    tau: float
    """Weight of the live critics in the moving average that is the targets, per update."""
    initial_temperature: float
    target_entropy: float | None
    """Entropy that the temperature steers to, nats; None is minus the number of actions
    (1812.05905, appendix D)."""
    layer_norm: bool
    """Layer normalisation in the critics."""
    actor_every: int
    """Critic updates per actor and temperature update."""
    n_critics: int
    """Reward critics, of which the minimum counts."""
    log_std_range: tuple[float, float]
    """Bounds of the policy's log standard deviation, before the tanh."""

    def __post_init__(self) -> None:
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must be positive, got {self.hidden_sizes}")
        for name in ("batch_size", "actor_every", "n_critics"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "temperature_learning_rate", "initial_temperature", "tau"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("discount", "cost_discount"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.tau > 1.0 or not self.log_std_range[0] < self.log_std_range[1]:
            raise ValueError(f"tau {self.tau} or log_std_range {self.log_std_range} out of range")


def reward_target(
    reward: Tensor,
    not_done: Tensor,
    next_values: Tensor,
    next_log_prob: Tensor,
    alpha: Tensor,
    discount: float,
) -> Tensor:
    """Soft Bellman target, (N,): r + gamma (1 - done) (min_j Q_j(s', a') - alpha log pi(a'|s')).

    1812.05905 eqs. 2, 3 and 6, with the minimum over the critics of its section 5.

    Args:
        reward: (N,).
        not_done: (N,) 1, or 0 where the episode terminated.
        next_values: (n_critics, N) Q_j(s', a').
        next_log_prob: (N,) log pi(a'|s').
        alpha: () temperature.
        discount: gamma, per step.
    """
    soft_value = next_values.amin(0) - alpha * next_log_prob
    return torch.addcmul(reward, not_done, soft_value, value=discount)


def cost_target(cost: Tensor, not_done: Tensor, next_values: Tensor, discount: float) -> Tensor:
    """Bellman target of the costs, (N, K): c + gamma_c (1 - done) Q_c(s', a').

    Ha 2020: the safety critic is evaluated as the reward critic is, without the entropy bonus.
    """
    return torch.addcmul(cost, not_done[:, None], next_values, value=discount)


def critic_loss(values: Tensor, target: Tensor, cost_values: Tensor, cost_target: Tensor) -> Tensor:
    """Half the mean squared Bellman error, summed over all critics and outputs (eq. 5).

    Args:
        values: (n_critics, N).
        target: (N,).
        cost_values: (N, K).
        cost_target: (N, K).
    """
    loss = 0.5 * (values - target).square().sum() / target.shape[0]
    if cost_values.shape[1]:
        loss = loss + 0.5 * (cost_values - cost_target).square().sum() / target.shape[0]
    return loss


def actor_loss(
    log_prob: Tensor,
    values: Tensor,
    cost_values: Tensor,
    alpha: Tensor,
    multipliers: Tensor,
) -> Tensor:
    """E[alpha log pi - (min_j Q_j - sum_k lambda_k Qc_k) / (1 + sum_k lambda_k)].

    1812.05905 eq. 7 on the Lagrangian of Ha 2020, divided by 1 + sum lambda as Stooke 2020
    (arXiv 2007.03964) rescales it, so that a large multiplier changes the gradient's direction and
    not its size.

    Args:
        log_prob: (N,).
        values: (n_critics, N).
        cost_values: (N, K).
        alpha: () temperature.
        multipliers: (K,).
    """
    value = values.amin(0)
    if cost_values.shape[1]:
        value = (value - cost_values @ multipliers) / (1.0 + multipliers.sum())
    return (alpha * log_prob - value).mean()


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Temperature loss -log(alpha) E[log pi + target entropy], after 1812.05905 eq. 18.

    With log(alpha) in place of alpha, as in the authors' code
    (https://github.com/rail-berkeley/softlearning/issues/37): same sign, steadier step.

    Args:
        log_alpha: ().
        log_prob: (N,); not differentiated.
        target_entropy: Nats.
    """
    return -log_alpha * (log_prob.detach().mean() + target_entropy)


@dataclass(frozen=True)
class TensorBatch:
    """A `Batch` and the (K,) multipliers as tensors; the shapes are those of `Batch`."""

    observation_action: Tensor
    observation: Tensor
    reward: Tensor
    cost: Tensor
    next_observation: Tensor
    not_done: Tensor
    multipliers: Tensor

    @classmethod
    def of(cls, batch: Batch, multipliers: NDArray[np.float64]) -> TensorBatch:
        """Tensors that share the batch's memory, and a float32 copy of the (K,) multipliers."""
        view = torch.from_numpy
        return cls(
            view(batch.observation_action),
            view(batch.observation),
            view(batch.reward),
            view(batch.cost),
            view(batch.next_observation),
            view(batch.not_done),
            view(multipliers.astype(np.float32)),
        )


class Sac:
    """One task's actor, critics, targets, temperature and their optimisers.

    Args:
        config: Settings.
        sizes: Sizes of the networks' inputs and outputs.
        seed: Seed of the initial weights and of all random numbers after them.

    Attributes:
        updates: Critic updates done.
        actor: Its tensors are updated in place and never replaced, so views of them stay current.
    """

    def __init__(
        self,
        config: SacConfig,
        sizes: NetworkSizes,
        seed: int,
    ) -> None:
        self.config = config
        self.sizes = sizes
        self.generator = torch.Generator().manual_seed(seed)
        self.actor = Actor(
            sizes.observation,
            sizes.action,
            config.hidden_sizes,
            config.log_std_range,
            self.generator,
        )
        self.critics = self._make_critics(sizes.observation + sizes.action)
        self.targets = self._make_targets()
        self.log_alpha = torch.tensor(math.log(config.initial_temperature), requires_grad=True)
        self.target_entropy = (
            -float(sizes.action) if config.target_entropy is None else config.target_entropy
        )
        self._make_optimisers()
        self.updates = 0
        self._last: dict[str, Tensor] = {}

    def _make_optimisers(self, capturable: bool = False) -> None:
        config = self.config
        self._critic_optimiser = torch.optim.Adam(
            self.critics.parameters, lr=config.learning_rate, fused=True, capturable=capturable
        )
        self._actor_optimiser = torch.optim.Adam(
            [
                {"params": self.actor.parameters, "lr": config.learning_rate},
                {"params": [self.log_alpha], "lr": config.temperature_learning_rate},
            ],
            fused=True,
            capturable=capturable,
        )

    def _make_critics(self, input_size: int) -> Critics:
        c = self.config
        return Critics(
            input_size,
            c.hidden_sizes,
            c.n_critics,
            self.sizes.constraints,
            c.layer_norm,
            self.generator,
        )

    def _make_targets(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.critics.parameters]

    @property
    def host_actor(self) -> Actor:
        """The actor in host memory, as of the newest update; views of its tensors stay current."""
        return self.actor

    @property
    def alpha(self) -> float:
        """The temperature of the entropy term."""
        return math.exp(float(self.log_alpha.detach()))

    def update(self, batch: Batch, multipliers: NDArray[np.float64]) -> None:
        """One gradient step on critics, actor and temperature.

        Args:
            batch: Transitions with this task's reward; not kept.
            multipliers: (K,) one per constraint, each at least 0.
        """
        learns_actor = (self.updates + 1) % self.config.actor_every == 0
        self._learn(TensorBatch.of(batch, multipliers), learns_actor)
        self.updates += 1

    def _learn(self, batch: TensorBatch, learns_actor: bool) -> None:
        self._critic_step(batch)
        if learns_actor:
            self._actor_step(batch)
        if self.targets:
            torch._foreach_lerp_(self.targets, self.critics.parameters, self.config.tau)

    def _critic_step(self, batch: TensorBatch) -> None:
        config = self.config
        with torch.no_grad():
            noise = self._noise(len(batch.not_done))
            next_action, next_log_prob = self.actor.sample(batch.next_observation, noise)
            next_values, next_costs = self.critics.values(
                torch.cat((batch.next_observation, next_action), 1), self.targets
            )
            target = reward_target(
                batch.reward,
                batch.not_done,
                next_values,
                next_log_prob,
                self.log_alpha.exp(),
                config.discount,
            )
            target_costs = cost_target(batch.cost, batch.not_done, next_costs, config.cost_discount)
        values, cost_values = self.critics.values(batch.observation_action)
        self._descend(values, target, cost_values, target_costs)

    def _descend(
        self, values: Tensor, target: Tensor, cost_values: Tensor, target_costs: Tensor
    ) -> None:
        loss = critic_loss(values, target, cost_values, target_costs)
        _step(self._critic_optimiser, loss, self.critics.parameters)
        self._last["critic_loss"] = loss.detach()
        self._last["q_mean"] = values.detach()

    def _actor_step(self, batch: TensorBatch) -> None:
        observation = batch.observation
        action, log_prob = self.actor.sample(observation, self._noise(len(observation)))
        values, cost_values = self.critics.values(torch.cat((observation, action), 1))
        loss = actor_loss(
            log_prob,
            values,
            cost_values,
            self.log_alpha.detach().exp(),
            batch.multipliers,
        ) + temperature_loss(self.log_alpha, log_prob, self.target_entropy)
        # Gradients of these tensors only: none are computed for the critics' weights.
        _step(self._actor_optimiser, loss, [*self.actor.parameters, self.log_alpha])
        self._last["log_prob"] = log_prob.detach()

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.sizes.action, generator=self.generator)

    def metrics(self) -> dict[str, float]:
        """Alpha, q_mean, critic_loss and entropy (nats) of the newest update, and `updates`."""
        last = self._last
        return {
            "alpha": self.alpha,
            "q_mean": float(last["q_mean"].mean()) if "q_mean" in last else 0.0,
            "critic_loss": float(last["critic_loss"]) if "critic_loss" in last else 0.0,
            "entropy": -float(last["log_prob"].mean()) if "log_prob" in last else 0.0,
            "updates": float(self.updates),
        }

    def finite(self) -> bool:
        """True if every number that acts or learns is finite; do not publish others."""
        # A sum is finite only if every term is (terms this large would be lost anyway).
        return all(math.isfinite(float(t.detach().sum())) for t in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """The live tensors of networks, targets and temperature, by name, in a fixed order."""
        named: dict[str, Tensor] = {}
        for i, (weight, bias) in enumerate(zip(self.actor.weights, self.actor.biases, strict=True)):
            named[f"actor.layer{i}.weight"] = weight
            named[f"actor.layer{i}.bias"] = bias
        named.update(self._critic_tensors())
        named["log_alpha"] = self.log_alpha
        return named

    def _critic_tensors(self) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for name, live, target in zip(
            self.critics.names, self.critics.parameters, self.targets, strict=True
        ):
            named[f"critics.{name}"] = live
            named[f"targets.{name}"] = target
        return named

    def state_dict(self) -> dict[str, NDArray[np.generic]]:
        """Copies of everything that evolves, as arrays by name."""
        state: dict[str, NDArray[np.generic]] = {}
        learning = {id(t): name for name, t in self.tensors().items()}
        for name, tensor in self.tensors().items():
            state[name] = _copied(tensor)
        for optimiser in (self._critic_optimiser, self._actor_optimiser):
            for group in optimiser.param_groups:
                for p in group["params"]:
                    for key, value in optimiser.state[p].items():
                        state[f"adam.{learning[id(p)]}.{key}"] = _copied(value)
        state["generator"] = self.generator.get_state().numpy().copy()
        state["updates"] = np.array(self.updates, np.int64)
        return state

    def load_state_dict(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue exactly where `state_dict` was taken.

        Raises:
            ValueError: A tensor is missing, unknown, or has another shape or type.
        """
        named = self.tensors()
        adam = [k for k in state if k.startswith("adam.")]
        known = {*named, *adam, "generator", "updates"}
        if set(state) != known:
            raise ValueError(f"state does not fit: {sorted(set(state) ^ known)} differ")
        for name, tensor in named.items():
            _check_like(name, state[name], tensor)
        optimiser_state: dict[str, dict[str, Tensor]] = {}
        for key in adam:
            name, _, entry = key[len("adam.") :].rpartition(".")
            if name not in named or entry not in ("step", "exp_avg", "exp_avg_sq"):
                raise ValueError(f"{key} belongs to no tensor of this learner")
            if entry != "step":
                _check_like(key, state[key], named[name])
            optimiser_state.setdefault(name, {})[entry] = torch.from_numpy(state[key].copy())
        with torch.no_grad():
            for name, tensor in named.items():
                tensor.copy_(torch.from_numpy(state[name]))
        for optimiser in (self._critic_optimiser, self._actor_optimiser):
            optimiser.state.clear()
            for group in optimiser.param_groups:
                for p in group["params"]:
                    name = next(n for n, t in named.items() if t is p)
                    if name in optimiser_state:
                        entries = optimiser_state[name].items()
                        optimiser.state[p] = {k: t.to(p.device) for k, t in entries}
        self.generator.set_state(torch.from_numpy(state["generator"].copy()))
        self.updates = int(state["updates"])


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, parameters: list[Tensor]) -> None:
    gradients = torch.autograd.grad(loss, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()


def _copied(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.detach().cpu().numpy().copy()
    return array


def _check_like(name: str, array: NDArray[np.generic], tensor: Tensor) -> None:
    if array.dtype != np.float32 or array.shape != tuple(tensor.shape):
        raise ValueError(
            f"{name} is {array.dtype} {array.shape}, expected float32 {tuple(tensor.shape)}"
        )
