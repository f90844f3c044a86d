# SPDX-License-Identifier: MIT
"""What `fast_sac` is made of: parameters in one vector, networks bound to buffers, and Adam.

The arithmetic is `kernels`. Nothing here sets the gradient mode; call it under
`torch.inference_mode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from walkhome.learning.fused.kernel_library import Job
from walkhome.learning.fused.kernels import Kernels, Matrix


class Flat:
    """Parameters moved into one vector, and those that products read packed for them.

    Args:
        kernels: What computes.
        parameters: Each is a view of `values` from here on.
        first_rows: Per parameter, None if no product reads it; else it is a matrix, or several,
            and this is the first row that its transpose is wanted of.
        targets: What follows the parameters, if anything; likewise views from here on.

    Attributes:
        values: All of them.
        target: Likewise the targets; None where nothing follows.
        matrices: What `values` holds, for `Kernels.parameters`.
    """

    def __init__(
        self,
        kernels: Kernels,
        parameters: Sequence[Tensor],
        first_rows: Sequence[int | None],
        targets: Sequence[Tensor] | None = None,
    ) -> None:
        self.parameters = list(parameters)
        self.values = self._moved(parameters, kernels.real)
        self.target = self._moved(targets, kernels.real) if targets is not None else None
        self.factors: list[list[Matrix]] = []
        for parameter, first_row in zip(parameters, first_rows, strict=True):
            if first_row is None:
                self.factors.append([Matrix(1, parameter.numel())])
                continue
            rows, columns = parameter.shape[-2:]
            self.factors.append(
                [
                    Matrix(
                        rows,
                        columns,
                        kernels.packed(rows, columns),
                        kernels.packed(columns, rows - first_row),
                        first_row,
                        kernels.packed(rows, columns) if targets is not None else None,
                    )
                    for _ in range(parameter.numel() // (rows * columns))
                ]
            )
        self.matrices = [matrix for part in self.factors for matrix in part]

    def views(self, vector: Tensor) -> list[Tensor]:
        """The parts of a vector that lies like `values`, by parameter."""
        parts = torch.split(vector, [p.numel() for p in self.parameters])
        return [x.view(p.shape) for x, p in zip(parts, self.parameters, strict=True)]

    def _moved(self, tensors: Sequence[Tensor], kind: torch.dtype) -> Tensor:
        vector = torch.empty(sum(t.numel() for t in tensors), dtype=kind)
        for view, tensor in zip(self.views(vector), tensors, strict=True):
            view.copy_(tensor.detach())
            tensor.data = view
        return vector


class Adam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980) over a `Flat` whose parameters step together.

    Its state lies in a `torch.optim.Adam`, under the same names, so that `Sac` saves and loads it.

    Args:
        kernels: What computes.
        optimiser: Whose state.
        group: Which of its groups of parameters.
        flat: The same parameters.
        tau: Share of the way that the targets follow at each step.

    Attributes:
        gradients: Per parameter, for the caller to fill before `step`.
    """

    def __init__(
        self,
        kernels: Kernels,
        optimiser: torch.optim.Optimizer,
        group: int,
        flat: Flat,
        tau: float = 0.0,
    ) -> None:
        self._kernels, self._optimiser, self._flat = kernels, optimiser, flat
        settings = optimiser.param_groups[group]
        self._parameters: list[Tensor] = settings["params"]
        self._betas: tuple[float, float] = settings["betas"]
        gradient = torch.zeros_like(flat.values)
        self.gradients = flat.views(gradient)
        self._moments = (torch.zeros_like(flat.values), torch.zeros_like(flat.values))
        self._step = torch.zeros(())
        self._count = self._step.numpy()
        self._begun = False
        self._job = kernels.parameters(
            flat.matrices,
            flat.values,
            gradient,
            self._moments,
            (settings["lr"], *self._betas, settings["eps"]),
            (flat.target, tau) if flat.target is not None else None,
        )
        self.refresh()

    def adopt(self) -> None:
        """Work on the present parameters and the optimiser's present state.

        From here on there is one step count for all.

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
        self._count = self._step.numpy()
        for name, vector in zip(("exp_avg", "exp_avg_sq"), self._moments, strict=True):
            if not self._begun:
                vector.zero_()
                continue
            for parameter, view in zip(self._parameters, self._flat.views(vector), strict=True):
                entry = state[parameter]
                entry[name] = view.copy_(entry[name])
        for entry in known:
            entry["step"] = self._step
        self.refresh()

    def refresh(self) -> None:
        """Pack again what was written to from outside: parameters and targets."""
        self._kernels.pack(self._job)

    def step(self) -> None:
        """One step along `gradients`, and of the targets behind it."""
        if not self._begun:
            with torch.inference_mode(False):
                self._begin()
        self._count += 1.0  # the tensor's own memory
        count = float(self._count)
        self._kernels.step(self._job, *(1.0 - beta**count for beta in self._betas))

    def _begin(self) -> None:
        for p in self._parameters:
            state: dict[str, Tensor] = {"step": self._step}
            state |= {k: torch.zeros_like(p.detach()) for k in ("exp_avg", "exp_avg_sq")}
            self._optimiser.state[p] = state
        self.adopt()


class Layer(NamedTuple):
    """A hidden layer's parameters.

    Attributes:
        weight: (in, out) packed.
        back: Its transpose packed, (out, in); of the first layer of critics the actions' part,
            (out, A). Targets have none.
        rest: Bias and, if normalised, gain and shift, (out,) each.
    """

    weight: Tensor
    back: Tensor | None
    rest: tuple[Tensor, ...]


class Slope(NamedTuple):
    """Where the gradients by a hidden layer's parameters go.

    Attributes:
        weight: (in, out), or (out, in) if `turned`.
        turned: Likewise.
        rest: As in `Layer`.
    """

    weight: Tensor
    turned: bool
    rest: tuple[Tensor, ...]


class Network(NamedTuple):
    """A network, or where its gradients go; the head's are (outputs, in) and (outputs,)."""

    hidden: list[Any]
    head_weight: Tensor
    head_bias: Tensor


def is_product(name: str) -> bool:
    """Whether a parameter of `Critics` by that name is a factor of a matrix product."""
    return name.startswith("hidden") and name.endswith("weight")


def critic_networks(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    n_critics: int,
    factors: Sequence[Sequence[Matrix]] | None,
    target: bool = False,
) -> list[Network]:
    """The critics one by one, reward critics first; without factors, of gradients.

    Args:
        names: `Critics.names`.
        tensors: Stacked over the critics as `Critics.parameters` are: these, or others like them.
        n_critics: How many reward critics.
        factors: `Flat.factors`.
        target: Of the targets.
    """
    named = {name: tensor.detach() for name, tensor in zip(names, tensors, strict=True)}
    packed = dict(zip(names, factors or [], strict=False))
    layers = dict.fromkeys(n.split(".")[0] for n in names if n.startswith("hidden"))
    result: list[Network] = []
    for i in range(n_critics + ("cost.weight" in named)):
        hidden: list[Layer | Slope] = []
        for layer in layers:
            weight = f"{layer}.weight"
            found = (named.get(f"{layer}.{part}") for part in ("bias", "gain", "shift"))
            rest = tuple(x[i, 0] for x in found if x is not None)
            if factors is None:
                hidden.append(Slope(named[weight][i], False, rest))
            elif target:
                hidden.append(Layer(_there(packed[weight][i].target), None, rest))
            else:
                matrix = packed[weight][i]
                hidden.append(Layer(_there(matrix.packed), matrix.transposed, rest))
        if i < n_critics:
            head = named["reward.weight"][i], named["reward.bias"][i]
        else:
            head = named["cost.weight"], named["cost.bias"]
        result.append(Network(hidden, *head))
    return result


def actor_network(
    tensors: Sequence[Tensor], factors: Sequence[Sequence[Matrix]] | None = None
) -> Network:
    """The actor: its weights, (out, in), then its biases; without factors, of gradients."""
    half = len(tensors) // 2
    weights, biases = ([t.detach() for t in part] for part in (tensors[:half], tensors[half:]))
    hidden: list[Layer | Slope] = []
    for i, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
        if factors is None:
            hidden.append(Slope(weight, True, (bias,)))
        else:
            matrix = factors[i][0]
            hidden.append(Layer(_there(matrix.transposed), matrix.packed, (bias,)))
    return Network(hidden, weights[-1], biases[-1])


def _there(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("a product reads what nothing packs")
    return tensor


class Buffers:
    """What one pass of N samples leaves for its way back. Networks may share it in turns."""

    def __init__(self, kernels: Kernels, n: int, sizes: Sequence[int]) -> None:
        self.active, self.normal, self.d = (
            [kernels.stored(n, size) for size in sizes] for _ in range(3)
        )
        self.active_packed, self.d_packed = (
            [kernels.packed(n, size) for size in sizes] for _ in range(2)
        )
        self.rstd = [torch.zeros(n, dtype=kernels.real) for _ in sizes]


class Bound:
    """One network with fixed inputs, outputs and buffers.

    Args:
        kernels: What computes.
        network: Which.
        buffers: Used by forward, and by the backward that follows it.
        x: (N, in) inputs, stored; rows may have gaps.
        values: (N, O) where its values go.
        d_values: Gradient of the loss by them, with the same strides, for backward.
        gradient: The inputs packed, and where gradients by the parameters go; None spends nothing
            on them.
        wanted: See `Kernels.head`.
    """

    def __init__(
        self,
        kernels: Kernels,
        network: Network,
        buffers: Buffers,
        x: Tensor,
        values: Tensor,
        d_values: Tensor | None = None,
        gradient: tuple[Tensor, Network] | None = None,
        wanted: tuple[Tensor, float] | None = None,
    ) -> None:
        self._kernels = kernels
        n, hidden = len(x), network.hidden
        last = len(hidden) - 1
        layers: list[Job] = []
        for i, layer in enumerate(hidden):
            kept = d_values is not None and len(layer.rest) > 1
            normal = (buffers.normal[i], buffers.rstd[i]) if kept else None
            packed = buffers.active_packed[i] if gradient is not None and i < last else None
            layers.append(
                kernels.layer(x, layer.weight, layer.rest, buffers.active[i], normal, packed)
            )
            x = buffers.active[i][:n, : len(layer.rest[0])]
        given = None
        if gradient is not None:
            given = gradient[1].head_weight, gradient[1].head_bias
        weight, bias = network.head_weight, network.head_bias
        self._head = kernels.head(weight, bias, values, d_values, given, wanted)
        self._forward = kernels.chain(layers)
        backs: list[Job] = []
        samples = torch.zeros(n, dtype=torch.int32) if gradient is None else None
        for i in reversed(range(len(layers) if d_values is not None else 0)):
            after = (backs[-1], hidden[i + 1].back) if backs else self._head
            slope, weights = None, None
            if gradient is not None:
                slope = gradient[1].hidden[i]
                x_packed = buffers.active_packed[i - 1] if i else gradient[0]
                weights = (buffers.d_packed[i], x_packed, slope.weight, slope.turned)
            rest = slope.rest if slope is not None else ()
            backs.append(kernels.back(layers[i], after, buffers.d[i], weights, rest, samples))
        self._backward = kernels.chain(backs)
        self._first, self._entrance = backs[-1] if backs else None, hidden[0].back

    def forward(self) -> None:
        """Run the network, and keep what backward needs."""
        self._kernels.forward(self._forward, self._head)

    def backward(self) -> None:
        """From `d_values` back to the first layer, writing the gradients that are wanted."""
        self._kernels.backward(self._backward)

    def add_input_gradient(self, to: Tensor) -> None:
        """Add the gradient by the inputs that the first layer's `back` is of to `to`, (N, A)."""
        self._kernels.add_input_gradient(self._first, self._entrance, to)
