# SPDX-License-Identifier: MIT
"""Building blocks of `fast_sac`: parameters in one vector, Adam, networks bound to buffers.

The arithmetic is in `kernels`. Nothing here sets the gradient mode: call it under
`torch.inference_mode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from walkhome.learning.fused.kernel_library import KernelArguments
from walkhome.learning.fused.kernels import Kernels, Matrix


class FlatParameters:
    """Parameters moved into one vector, with buffers for packed copies of the weights.

    Args:
        kernels: Makes the buffers.
        parameters: Each becomes a view of `values`.
        first_rows: Per parameter: None if no matrix product reads it; otherwise it is a weight, or
            a stack of weights, and this is the first row whose transpose backward needs.
        targets: The target networks' parameters, which become views of `target`; None for none.

    Attributes:
        parameters: The parameters.
        values: (n,) all parameters.
        target: (n,) all target parameters; None without targets.
        factors: Per parameter, its matrices with their packed copies.
        matrices: All of them in the order of `values`, for `Kernels.parameters`.
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
        """Views of an (n,) vector, one with the shape of each parameter."""
        parts = torch.split(vector, [p.numel() for p in self.parameters])
        return [x.view(p.shape) for x, p in zip(parts, self.parameters, strict=True)]

    def _moved(self, tensors: Sequence[Tensor], kind: torch.dtype) -> Tensor:
        vector = torch.empty(sum(t.numel() for t in tensors), dtype=kind)
        for view, tensor in zip(self.views(vector), tensors, strict=True):
            view.copy_(tensor.detach())
            tensor.data = view
        return vector


class Adam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980) on a `FlatParameters`, with one step count for all.

    The moments live in the state of a `torch.optim.Adam`, so `Sac` saves and loads them.

    Args:
        kernels: Computes the step.
        optimiser: Holds settings and state.
        group: Index of its parameter group.
        flat: The same parameters.
        tau: Weight of the live parameters in the targets' moving average, per step.

    Attributes:
        gradients: Per parameter, a view for the caller to fill before `step`.
    """

    def __init__(
        self,
        kernels: Kernels,
        optimiser: torch.optim.Optimizer,
        group: int,
        flat: FlatParameters,
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
        self._args = kernels.parameters(
            flat.matrices,
            flat.values,
            gradient,
            self._moments,
            (settings["lr"], *self._betas, settings["eps"]),
            (flat.target, tau) if flat.target is not None else None,
        )
        self.refresh()

    def adopt(self) -> None:
        """Take over the optimiser's state and the parameters, after they were loaded.

        Raises:
            ValueError: The parameters' step counts differ.
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
        """Renew the packed copies after parameters or targets were written from outside."""
        self._kernels.pack(self._args)

    def step(self) -> None:
        """One step along `gradients`; updates the targets and all packed copies too."""
        if not self._begun:
            with torch.inference_mode(False):
                self._begin()
        self._count += 1.0  # the tensor's own memory
        count = float(self._count)
        self._kernels.step(self._args, *(1.0 - beta**count for beta in self._betas))

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
        back: Its transpose packed, (out, in), for backward; in the critics' first layer only that
            of the action's rows, (out, A). Target networks have none.
        rest: Bias and, with layer normalisation, gain and shift, (out,) each.
    """

    weight: Tensor
    back: Tensor | None
    rest: tuple[Tensor, ...]


class LayerGradient(NamedTuple):
    """Views that receive the gradients of a hidden layer's parameters.

    Attributes:
        weight: (in, out), or (out, in) if `transposed_weight`.
        transposed_weight: True for the actor, whose weights are stored (out, in).
        rest: Bias and, with layer normalisation, gain and shift, (out,) each.
    """

    weight: Tensor
    transposed_weight: bool
    rest: tuple[Tensor, ...]


class Network(NamedTuple):
    """One network's parameters, or the views that receive their gradients.

    Attributes:
        hidden: `Layer` or `LayerGradient` of each hidden layer.
        head_weight: (outputs, in).
        head_bias: (outputs,).
    """

    hidden: list[Any]
    head_weight: Tensor
    head_bias: Tensor


def is_product(name: str) -> bool:
    """True if the parameter of `Critics` with this name is a factor of a matrix product."""
    return name.startswith("hidden") and name.endswith("weight")


def critic_networks(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    n_critics: int,
    factors: Sequence[Sequence[Matrix]] | None,
    target: bool = False,
) -> list[Network]:
    """Per-critic views of stacked parameters, or of their gradients if `factors` is None.

    Args:
        names: `Critics.names`.
        tensors: Parameters or gradients, stacked over the E critics like `Critics.parameters`.
        n_critics: Number of reward critics.
        factors: `FlatParameters.factors`; None for gradients.
        target: Use the packed copies of the target networks.

    Returns:
        One network per critic: the reward critics, then the cost critic if there is one.
    """
    named = {name: tensor.detach() for name, tensor in zip(names, tensors, strict=True)}
    packed = dict(zip(names, factors or [], strict=False))
    layers = dict.fromkeys(n.split(".")[0] for n in names if n.startswith("hidden"))
    result: list[Network] = []
    for i in range(n_critics + ("cost.weight" in named)):
        hidden: list[Layer | LayerGradient] = []
        for layer in layers:
            weight = f"{layer}.weight"
            found = (named.get(f"{layer}.{part}") for part in ("bias", "gain", "shift"))
            rest = tuple(x[i, 0] for x in found if x is not None)
            if factors is None:
                hidden.append(LayerGradient(named[weight][i], False, rest))
            elif target:
                hidden.append(Layer(_require(packed[weight][i].target), None, rest))
            else:
                matrix = packed[weight][i]
                hidden.append(Layer(_require(matrix.packed), matrix.transposed, rest))
        if i < n_critics:
            head = named["reward.weight"][i], named["reward.bias"][i]
        else:
            head = named["cost.weight"], named["cost.bias"]
        result.append(Network(hidden, *head))
    return result


def actor_network(
    tensors: Sequence[Tensor], factors: Sequence[Sequence[Matrix]] | None = None
) -> Network:
    """Views of the actor's parameters, or of their gradients if `factors` is None.

    Args:
        tensors: `Actor.parameters`: the weights, (out, in), then the biases, (out,).
        factors: `FlatParameters.factors`; None for gradients.
    """
    half = len(tensors) // 2
    weights, biases = ([t.detach() for t in part] for part in (tensors[:half], tensors[half:]))
    hidden: list[Layer | LayerGradient] = []
    for i, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
        if factors is None:
            hidden.append(LayerGradient(weight, True, (bias,)))
        else:
            matrix = factors[i][0]
            hidden.append(Layer(_require(matrix.transposed), matrix.packed, (bias,)))
    return Network(hidden, weights[-1], biases[-1])


def _require(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("this weight has no packed copy: give it a first row in FlatParameters")
    return tensor


class LayerBuffers:
    """Activations and gradients of one pass of N samples; networks may use it in turns.

    Args:
        kernels: Makes the buffers.
        n: N.
        sizes: Units of each hidden layer.
    """

    def __init__(self, kernels: Kernels, n: int, sizes: Sequence[int]) -> None:
        self.active, self.normal, self.d = (
            [kernels.stored(n, size) for size in sizes] for _ in range(3)
        )
        self.active_packed, self.d_packed = (
            [kernels.packed(n, size) for size in sizes] for _ in range(2)
        )
        self.rstd = [torch.zeros(n, dtype=kernels.real) for _ in sizes]


class BoundNetwork:
    """One network with fixed inputs, outputs and buffers, ready to run.

    Args:
        kernels: Computes.
        network: The network's parameters.
        buffers: Written by `forward`, and read by the `backward` that follows it.
        x: (N, in) inputs, stored; rows may have gaps.
        values: (N, O) output.
        d_values: Gradient of the loss with respect to `values`, with the same strides, for
            `backward`; None for a network that only runs forward.
        gradient: The inputs packed, and the views that receive the parameters' gradients; None
            computes no gradients of parameters.
        td_target: See `Kernels.head`.
    """

    def __init__(
        self,
        kernels: Kernels,
        network: Network,
        buffers: LayerBuffers,
        x: Tensor,
        values: Tensor,
        d_values: Tensor | None = None,
        gradient: tuple[Tensor, Network] | None = None,
        td_target: tuple[Tensor, float] | None = None,
    ) -> None:
        self._kernels = kernels
        n, hidden = len(x), network.hidden
        last = len(hidden) - 1
        layers: list[KernelArguments] = []
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
        self._head = kernels.head(weight, bias, values, d_values, given, td_target)
        self._forward = kernels.chain(layers)
        backs: list[KernelArguments] = []
        samples = torch.zeros(n, dtype=torch.int32) if gradient is None else None
        for i in reversed(range(len(layers) if d_values is not None else 0)):
            after = (backs[-1], hidden[i + 1].back) if backs else self._head
            slope, weights = None, None
            if gradient is not None:
                slope = gradient[1].hidden[i]
                x_packed = buffers.active_packed[i - 1] if i else gradient[0]
                weights = (buffers.d_packed[i], x_packed, slope.weight, slope.transposed_weight)
            rest = slope.rest if slope is not None else ()
            backs.append(
                kernels.layer_backward(layers[i], after, buffers.d[i], weights, rest, samples)
            )
        self._backward = kernels.chain(backs)
        self._first, self._input_weight = backs[-1] if backs else None, hidden[0].back

    def forward(self) -> None:
        """Compute `values`, and keep what `backward` needs."""
        self._kernels.forward(self._forward, self._head)

    def backward(self) -> None:
        """Backpropagate `d_values` to the first layer; writes the parameters' gradients if any."""
        self._kernels.backward(self._backward)

    def add_input_gradient(self, to: Tensor) -> None:
        """Add the gradient with respect to the last A inputs (the actions) to `to`, (N, A).

        Call it after `backward`.
        """
        self._kernels.add_input_gradient(self._first, self._input_weight, to)
