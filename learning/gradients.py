# SPDX-License-Identifier: MIT
"""What `fast_sac` is made of: networks as views, their passes forward and backward, and Adam.

Written out instead of left to autograd, so that products write into buffers kept from update to
update: fresh memory costs more time than the products leave to lose. Values lie as (outputs, N),
not (N, outputs), because thin products are quicker that way round. Nothing here sets the gradient
mode; call it under `torch.inference_mode`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_EPSILON = 1e-5  # of torch.nn.LayerNorm

# Overloads by name: the first two write into a buffer, and none is looked up at each call.
relu_backward = torch.ops.aten.threshold_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input
_norm_backward = torch.ops.aten.native_layer_norm_backward.default


class Layer(NamedTuple):
    """Views of a layer's parameters, or of their gradients: making one takes as long as a small op.

    Weight (in, out) and transposed, bias (out,), and, if normalised, gain and shift, each (out,).
    """

    weight: Tensor
    weight_t: Tensor
    bias: Tensor
    norm: tuple[Tensor, ...]


class Network(NamedTuple):
    """Views of one critic, or of its gradients; the head's are (outputs, in) and (outputs, 1)."""

    hidden: list[Layer]
    head_weight: Tensor
    head_bias: Tensor


def networks(names: Sequence[str], tensors: Sequence[Tensor], n_critics: int) -> list[Network]:
    """The critics one by one, reward critics first.

    Args:
        names: `Critics.names`.
        tensors: Stacked over the critics as `Critics.parameters` are: these, or others like them.
        n_critics: How many reward critics.
    """
    named = {name: tensor.detach() for name, tensor in zip(names, tensors, strict=True)}
    layers = dict.fromkeys(n.split(".")[0] for n in names if n.startswith("hidden"))
    result: list[Network] = []
    for i in range(n_critics + ("cost.weight" in named)):
        hidden = []
        for layer in layers:
            weight, bias = named[f"{layer}.weight"][i], named[f"{layer}.bias"][i, 0]
            norm = (named.get(f"{layer}.gain"), named.get(f"{layer}.shift"))
            hidden.append(
                Layer(weight, weight.t(), bias, tuple(x[i, 0] for x in norm if x is not None))
            )
        if i < n_critics:
            head = named["reward.weight"][i], named["reward.bias"][i, :, None]
        else:
            head = named["cost.weight"], named["cost.bias"][:, None]
        result.append(Network(hidden, *head))
    return result


class Adam:
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
            state: dict[str, Tensor] = {"step": self._step}
            state |= {k: torch.zeros_like(p.detach()) for k in ("exp_avg", "exp_avg_sq")}
            self._optimiser.state[p] = state
        self.adopt()


class Pass:
    """Forward and backward through one critic at a time, for N samples, in buffers of its own."""

    def __init__(self, scratch: Sequence[Tensor]) -> None:
        """Allocate for hidden layers as large as the scratch, (N, out) each; backward uses it."""
        self._scratch = scratch
        self._linear = [torch.empty_like(x) for x in scratch]
        self._moments: list[tuple[Tensor, Tensor]] = [(scratch[0], scratch[0])] * len(scratch)
        self.active_t = [x.t() for x in (scratch[0], *self._linear)]
        """What each layer was given, transposed: (in, N)."""

    def forward(self, network: Network, x: Tensor, values: Tensor | None) -> None:
        """Run the network, and keep what backward needs.

        Args:
            network: Which one.
            x: (N, O + A) inputs; must stay as they are until after backward.
            values: Where to write the values, (outputs, N), if they are wanted.
        """
        self.active_t[0] = x.t()
        for i, (weight, _, bias, norm) in enumerate(network.hidden):
            x = torch.addmm(bias, x, weight, out=self._linear[i])
            if norm:
                gain, shift = norm
                x, mean, rstd = torch.native_layer_norm(x, bias.shape, gain, shift, _EPSILON)
                self.active_t[i + 1], self._moments[i] = x.t(), (mean, rstd)
            x.relu_()
        if values is not None:
            torch.addmm(network.head_bias, network.head_weight, self.active_t[-1], out=values)

    def backward(
        self, network: Network, d_values: Tensor, learn: bool
    ) -> Iterator[tuple[int, Tensor, Sequence[Tensor]]]:
        """From the last hidden layer to the first: its index and gradients.

        Those of its products, (N, out), and, if it is normalised, of gain and shift, each (out,).

        Args:
            network: The critic that forward was given.
            d_values: (outputs, N) gradient of the loss with respect to its values.
            learn: Whether the gradients of gain and shift are wanted.
        """
        d, weight = d_values.t(), network.head_weight
        for i in range(len(network.hidden) - 1, -1, -1):
            _, weight_t, bias, norm = network.hidden[i]
            d = torch.mm(d, weight, out=self._scratch[i])
            relu_backward(d, self.active_t[i + 1].t(), 0, grad_input=d)
            own: Sequence[Tensor] = ()
            if norm:
                kept = (bias.shape, *self._moments[i], *norm)
                d, *own = _norm_backward(d, self._linear[i], *kept, [True, learn, learn])
            yield i, d, own
            weight = weight_t


def critic_gradient(one: Pass, network: Network, gradient: Network, d_values: Tensor) -> None:
    """Write the gradients of one critic's parameters.

    Args:
        one: The pass that has just gone forward through it.
        network: The critic.
        gradient: Where to write them.
        d_values: (outputs, N) gradient of the loss with respect to its values.
    """
    torch.mm(d_values, one.active_t[-1].t(), out=gradient.head_weight)
    torch.sum(d_values, 1, keepdim=True, out=gradient.head_bias)
    for i, d, norm in one.backward(network, d_values, learn=True):
        layer = gradient.hidden[i]
        torch.mm(one.active_t[i], d, out=layer.weight)
        torch.sum(d, 0, out=layer.bias)
        for own, value in zip(layer.norm, norm, strict=True):
            own.copy_(value)


def add_action_gradient(one: Pass, network: Network, d_values: Tensor, result: Tensor) -> None:
    """Add the gradient with respect to the last inputs; none is spent on the parameters.

    Args:
        one: The pass that has gone forward through the critic.
        network: The critic.
        d_values: (outputs, N) gradient of the loss with respect to its values.
        result: Where to add that of the actions, (A, N).
    """
    # The first layer comes last.
    *_, (_, d, _) = one.backward(network, d_values, learn=False)
    result.addmm_(network.hidden[0].weight[-len(result) :], d.t())
