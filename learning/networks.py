# SPDX-License-Identifier: MIT
"""Actor and critics of SAC, as lists of tensors with a forward pass.

They are no `nn.Module`: the optimiser, the targets' moving average, the policy and the checkpoint
need only a list of tensors, and attribute look-ups would take a good part of a small update's time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

_LOG_2 = math.log(2.0)
_HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class NetworkSizes:
    """Numbers that go into and come out of one task's networks.

    Attributes:
        observation: O, what the actor reads.
        action: A, what it decides on.
        constraints: K, outputs of the cost critic; 0 for no cost critic.
    """

    observation: int
    action: int
    constraints: int


def _uniform(shape: Sequence[int], fan_in: int, generator: torch.Generator) -> Tensor:
    # PyTorch's own default for a linear layer (Kaiming uniform with a = sqrt 5): weights and biases
    # uniform within 1 / sqrt(fan_in). The same in Stable-Baselines3, so the two compare fairly.
    bound = 1.0 / math.sqrt(fan_in)
    return torch.empty(*shape).uniform_(-bound, bound, generator=generator)


class Actor:
    """Tanh-Gaussian policy: a ReLU network whose head gives mean and log standard deviation.

    Attributes:
        weights: Per layer (out, in); the head has out = 2 A, mean first.
        biases: Per layer (out,).
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden_sizes: Sequence[int],
        log_std_range: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        sizes = [observation_size, *hidden_sizes, 2 * action_size]
        self.log_std_range = log_std_range
        self.weights: list[Tensor] = []
        self.biases: list[Tensor] = []
        for fan_in, out in pairwise(sizes):
            self.weights.append(_uniform((out, fan_in), fan_in, generator).requires_grad_())
            self.biases.append(_uniform((out,), fan_in, generator).requires_grad_())

    @property
    def parameters(self) -> list[Tensor]:
        """All tensors that the optimiser updates."""
        return [*self.weights, *self.biases]

    def head(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and clipped log standard deviation before the tanh, (N, A) each, for (N, O)."""
        x = observation
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = functional.linear(x, weight, bias).relu_()
        mean, log_std = functional.linear(x, self.weights[-1], self.biases[-1]).chunk(2, dim=1)
        return mean, log_std.clamp(*self.log_std_range)

    def sample(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Reparameterised actions (N, A) and their log densities (N,), given normal noise (N, A).

        SAC appendix C (arXiv 1801.01290): log pi = log N(u) - sum log(1 - tanh(u)^2). The last term
        is computed as 2 (log 2 - u - softplus(-2 u)), because 1 - tanh(u)^2 can round to zero.
        """
        mean, log_std = self.head(observation)
        u = torch.addcmul(mean, log_std.exp(), noise)
        squash = 2.0 * (_LOG_2 - u - functional.softplus(-2.0 * u))
        log_prob = -(0.5 * noise.square() + log_std + _HALF_LOG_2_PI + squash).sum(1)
        return u.tanh(), log_prob


class Critics:
    """E networks of the same shape, run as one: the reward critics and, if K > 0, the cost critic.

    Hidden layers are stacked, (E, in, out), so that one batched product does the work of E. Each is
    followed by layer normalisation (Ba 2016, arXiv 1607.06450), which in critics limits the values
    of unseen actions (Smith 2022, arXiv 2208.07860; Ball 2023, arXiv 2302.02948), and a ReLU.
    The reward critics have one output each, the cost critic has K.

    Attributes:
        names: Names of the parameters.
        parameters: All tensors that the optimiser updates, in the order of `names`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        n_critics: int,
        n_constraints: int,
        layer_norm: bool,
        generator: torch.Generator,
    ) -> None:
        self.n_critics = n_critics
        self.n_constraints = n_constraints
        self.layer_norm = layer_norm
        self.n_hidden = len(hidden_sizes)
        members = n_critics + (1 if n_constraints else 0)
        self.names: list[str] = []
        self.parameters: list[Tensor] = []
        fan_in = input_size
        for i, out in enumerate(hidden_sizes):
            self._add(f"hidden{i}.weight", _uniform((members, fan_in, out), fan_in, generator))
            self._add(f"hidden{i}.bias", _uniform((members, 1, out), fan_in, generator))
            if layer_norm:
                self._add(f"hidden{i}.gain", torch.ones(members, 1, out))
                self._add(f"hidden{i}.shift", torch.zeros(members, 1, out))
            fan_in = out
        self._add("reward.weight", _uniform((n_critics, 1, fan_in), fan_in, generator))
        self._add("reward.bias", _uniform((n_critics, 1), fan_in, generator))
        if n_constraints:
            self._add("cost.weight", _uniform((n_constraints, fan_in), fan_in, generator))
            self._add("cost.bias", _uniform((n_constraints,), fan_in, generator))
        for parameter in self.parameters:
            parameter.requires_grad_()

    def _add(self, name: str, value: Tensor) -> None:
        self.names.append(name)
        self.parameters.append(value)

    def values(
        self, observation_action: Tensor, parameters: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Reward values (n_critics, N) and cost values (N, K) of (N, O + A) inputs.

        Args:
            observation_action: Observations and actions side by side.
            parameters: Parameters to use instead of the live ones (those of the targets).
        """
        p = iter(self.parameters if parameters is None else parameters)
        x = observation_action
        for i in range(self.n_hidden):
            weight, bias = next(p), next(p)
            if i == 0:
                x = x.expand(weight.shape[0], -1, -1)
            x = torch.baddbmm(bias, x, weight)
            if self.layer_norm:
                gain, shift = next(p), next(p)
                x = torch.addcmul(shift, functional.layer_norm(x, x.shape[-1:]), gain)
            x = x.relu()
        return self._heads(x, p)

    def _heads(self, x: Tensor, p: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
        """Values for the last hidden layers' outputs (E, N, H); `p` yields the heads' tensors."""
        weight, bias = next(p), next(p)
        # One output per critic: a product and a sum beat a batched matrix-vector product.
        reward = (x[: self.n_critics] * weight).sum(-1) + bias
        if self.n_constraints:
            return reward, functional.linear(x[self.n_critics], next(p), next(p))
        return reward, x.new_empty(x.shape[1], 0)
