# SPDX-License-Identifier: MIT
"""What `fast_sac` is made of: parameters in one vector, networks bound to buffers, and Adam.

Matrix products are PyTorch's, into buffers kept from update to update; what lies between them is
`kernels`. Nothing here sets the gradient mode; call it under `torch.inference_mode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from learning.kernels import Kernels


class Flat:
    """Parameters moved into one vector: first those that products read (the stored ones).

    Attributes:
        values: All of them; each parameter is a view of it from here on.
        copies: The stored ones as products read them: part of `values` if that is the same type.
    """

    def __init__(
        self, kernels: Kernels, parameters: Sequence[Tensor], stored: Sequence[bool]
    ) -> None:
        self.parameters = list(parameters)
        self._order = sorted(range(len(parameters)), key=lambda i: not stored[i])
        self.n_stored = sum(p.numel() for p, s in zip(parameters, stored, strict=True) if s)
        self.values = torch.empty(sum(p.numel() for p in parameters), dtype=kernels.real)
        self.copies = self.values[: self.n_stored]
        self.same = kernels.store is kernels.real
        if not self.same:
            self.copies = torch.empty(self.n_stored, dtype=kernels.store)
        for i, view in self.views(self.values).items():
            view.copy_(parameters[i].detach())
            parameters[i].data = view
        self.refresh()

    def views(self, vector: Tensor, start: int = 0) -> dict[int, Tensor]:
        """The parts of a vector that lies like `values` from `start` on, by parameter."""
        result: dict[int, Tensor] = {}
        at = -start
        for i in self._order:
            shape = self.parameters[i].shape
            end = at + shape.numel()
            if at >= 0 and end <= vector.numel():
                result[i] = vector[at:end].view(shape)
            at = end
        return result

    def as_read(self) -> list[Tensor]:
        """Each parameter as products read it, or itself."""
        stored = self.views(self.copies)
        return [stored.get(i, p.detach()) for i, p in enumerate(self.parameters)]

    def refresh(self) -> None:
        """Write the copies again, after the parameters were written to from outside."""
        if not self.same:
            self.copies.copy_(self.values[: self.n_stored])


class Adam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980) over a `Flat` whose parameters step together.

    Its state lies in a `torch.optim.Adam`, under the same names, so that `Sac` saves and loads it.

    Attributes:
        gradients: Per parameter, for the caller to fill before `step`; stored parameters have
            theirs in the stored type.
    """

    def __init__(
        self, kernels: Kernels, optimiser: torch.optim.Optimizer, group: int, flat: Flat
    ) -> None:
        self._kernels, self._optimiser, self._flat = kernels, optimiser, flat
        settings = optimiser.param_groups[group]
        self._parameters: list[Tensor] = settings["params"]
        self._betas: tuple[float, float] = settings["betas"]
        n, size = flat.n_stored, flat.values.numel()
        parts = (
            torch.zeros(n, dtype=kernels.store),
            torch.zeros(size - n, dtype=kernels.real),
        )
        views = flat.views(parts[0]) | flat.views(parts[1], n)
        self.gradients = [views[i] for i in range(len(views))]
        self._moments = (torch.zeros_like(flat.values), torch.zeros_like(flat.values))
        self._step = torch.zeros(())
        self._begun = False
        adam = (settings["lr"], *self._betas, settings["eps"])
        copies = None if flat.same else flat.copies
        self._jobs = [
            kernels.adam(flat.values[part], g, tuple(m[part] for m in self._moments), c, adam)  # type: ignore[arg-type]
            for part, g, c in (
                (slice(0, n), parts[0], copies),
                (slice(n, size), parts[1], None),
            )
        ]

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
        self._begun = bool(known)
        self._step = torch.tensor(steps.pop() if steps else 0.0, dtype=torch.float32)
        for name, vector in zip(("exp_avg", "exp_avg_sq"), self._moments, strict=True):
            if not self._begun:
                vector.zero_()
                continue
            for i, view in self._flat.views(vector).items():
                entry = state[self._flat.parameters[i]]
                entry[name] = view.copy_(entry[name])
        for entry in known:
            entry["step"] = self._step

    def step(self) -> None:
        """One step along `gradients`."""
        if not self._begun:
            with torch.inference_mode(False):
                self._begin()
        self._step += 1.0
        count = float(self._step)
        corrections = [1.0 - beta**count for beta in self._betas]
        for job in self._jobs:
            self._kernels.step(job, *corrections)

    def _begin(self) -> None:
        for p in self._parameters:
            state: dict[str, Tensor] = {"step": self._step}
            state |= {k: torch.zeros_like(p.detach()) for k in ("exp_avg", "exp_avg_sq")}
            self._optimiser.state[p] = state
        self.adopt()


class Layer(NamedTuple):
    """A hidden layer's parameters, or their gradients.

    Attributes:
        weight: (in, out), or (out, in) if `turned`; stored.
        rest: Bias and, if normalised, gain and shift, (out,) each.
    """

    weight: Tensor
    turned: bool
    rest: tuple[Tensor, ...]


class Network(NamedTuple):
    """Views of one network, or of its gradients; the head's are (outputs, in) and (outputs,)."""

    hidden: list[Layer]
    head_weight: Tensor
    head_bias: Tensor


def is_product(name: str) -> bool:
    """Whether a parameter of `Critics` by that name is a factor of a matrix product."""
    return name.startswith("hidden") and name.endswith("weight")


def critic_networks(names: Sequence[str], tensors: Sequence[Any], n_critics: int) -> list[Network]:
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
            rest = (named.get(f"{layer}.{part}") for part in ("bias", "gain", "shift"))
            kept = tuple(x[i, 0] for x in rest if x is not None)
            hidden.append(Layer(named[f"{layer}.weight"][i], False, kept))
        if i < n_critics:
            head = named["reward.weight"][i], named["reward.bias"][i]
        else:
            head = named["cost.weight"], named["cost.bias"]
        result.append(Network(hidden, *head))
    return result


def actor_network(tensors: Sequence[Any]) -> Network:
    """The actor: its weights, then its biases, as `Actor.parameters` has them."""
    half = len(tensors) // 2
    weights, biases = ([t.detach() for t in part] for part in (tensors[:half], tensors[half:]))
    hidden = [Layer(w, True, (b,)) for w, b in zip(weights[:-1], biases[:-1], strict=True)]
    return Network(hidden, weights[-1], biases[-1])


class Buffers:
    """What one pass of N samples leaves for its way back. Networks may share it in turns."""

    def __init__(self, kernels: Kernels, n: int, sizes: Sequence[int]) -> None:
        self.linear, self.active, self.d = (
            [torch.zeros(n, size, dtype=kernels.store) for size in sizes] for _ in range(3)
        )
        self.moments = [
            (torch.zeros(n, dtype=kernels.real), torch.zeros(n, dtype=kernels.real)) for _ in sizes
        ]


class Bound:
    """One network with fixed inputs, outputs and buffers.

    Args:
        kernels: What computes between products.
        network: Which.
        buffers: Used by forward, and by the backward that follows it.
        x: (N, in) inputs, stored; rows may have gaps.
        values: (N, O) where its values go.
        d_values: Gradient of the loss by them, with the same strides, for backward.
        gradient: Where those of the parameters go; None spends nothing on them.
    """

    def __init__(
        self,
        kernels: Kernels,
        network: Network,
        buffers: Buffers,
        x: Tensor,
        values: Tensor,
        d_values: Tensor | None = None,
        gradient: Network | None = None,
    ) -> None:
        self._kernels = kernels
        layers = [
            kernels.layer(linear, active, layer.rest[0], layer.rest[1:], moments)
            for layer, linear, active, moments in zip(
                network.hidden, buffers.linear, buffers.active, buffers.moments, strict=True
            )
        ]
        inputs = [x, *buffers.active[:-1]]
        weights = [w.t() if turned else w for w, turned, _ in network.hidden]
        self._forward = list(zip(inputs, weights, buffers.linear, layers, strict=True))
        given = (gradient.head_weight, gradient.head_bias) if gradient is not None else None
        self._head = kernels.head(network.head_weight, network.head_bias, values, d_values, given)
        self._last = layers[-1]
        self.d = buffers.d
        """Per layer, after backward: gradient by its products, (N, H)."""
        self._backward = []
        for i in reversed(range(len(layers) if d_values is not None else 0)):
            head = self._head if i == len(layers) - 1 else None
            own = gradient.hidden[i] if gradient is not None else None
            back = kernels.back(layers[i], head, buffers.d[i], own.rest if own else ())
            step = (back, *_weight_product(own, inputs[i], buffers.d[i]))
            below = (weights[i].t(), buffers.d[i - 1]) if i else None
            self._backward.append((*step, buffers.d[i], below))

    def forward(self) -> None:
        """Run the network, and keep what backward needs."""
        for x, weight, linear, layer in self._forward:
            torch.mm(x, weight, out=linear)
            self._kernels.forward(layer)
        self._kernels.values(self._last, self._head)

    def backward(self) -> None:
        """From `d_values` back to the first layer, writing the gradients that are wanted."""
        for back, factors, gradient, d, below in self._backward:
            self._kernels.backward(back)
            if factors is not None:
                torch.mm(*factors, out=gradient)
            if below is not None:
                torch.mm(d, below[0], out=below[1])


def _weight_product(
    own: Layer | None, x: Tensor, d: Tensor
) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    """The two factors of a weight's gradient, and where it goes; Nones if it isn't wanted."""
    if own is None:
        return None, None
    return (d.t(), x) if own.turned else (x.t(), d), own.weight
