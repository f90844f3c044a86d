# SPDX-License-Identifier: MIT
"""What `kernels.c` does, on tensors: all of an update that is neither a matrix product nor tiny.

Work is described once, in structures of addresses (`Job`), and then done by handing over one
pointer, because a call with a dozen arguments takes as long as the work. A job keeps the tensors
it points to alive; they may be written to, but never replaced.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from native.compiled import load_library

EPSILON = 1e-5  # of torch.nn.LayerNorm
_FLAGS = (
    "-std=c11",
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
)
_BITS = {torch.float32: 32, torch.bfloat16: 16, torch.float64: 64}

Job = Any  # what `Kernels` makes and takes: addresses, with the tensors they lead to


@cache
def _structures(real: Any) -> tuple[type, type, type, type]:
    """The structures of `kernels.c`: layer, head, way back, Adam."""
    size, pointer = ctypes.c_ssize_t, ctypes.c_void_p

    def structure(name: str, fields: list[tuple[str, Any]]) -> type:
        return type(name, (ctypes.Structure,), {"_fields_": fields})

    def pointers(names: str) -> list[tuple[str, Any]]:
        return [(name, pointer) for name in names.split()]

    layer = structure(
        "Layer",
        [
            ("rows", size),
            ("width", size),
            *pointers("linear active bias gain shift mean rstd"),
            ("eps", real),
        ],
    )
    head = structure(
        "Head",
        [
            ("outputs", size),
            ("row_stride", size),
            ("output_stride", size),
            *pointers("weight bias values d_values d_weight d_bias"),
        ],
    )
    back = structure("Back", pointers("layer head d d_bias d_gain d_shift"))
    adam = structure(
        "Adam",
        [
            ("size", size),
            *pointers("parameter first second gradient stored_gradient copy"),
            *((name, real) for name in ("rate", "beta1", "beta2", "eps")),
        ],
    )
    return layer, head, back, adam


class Kernels:
    """The compiled code for one type of activations.

    Args:
        store: float32, bfloat16, or float64 (for proofs): what products read and write.

    Raises:
        NotCompiled: There is no C compiler here.

    Attributes:
        store: Likewise.
        real: What parameters, sums and moments are: float64 for float64, else float32.
    """

    def __init__(self, store: torch.dtype) -> None:
        self.store = store
        self.real = torch.float64 if store is torch.float64 else torch.float32
        self._library = _library(_BITS[store])
        c_real = ctypes.c_double if store is torch.float64 else ctypes.c_float
        self._layer, self._head, self._back, self._adam = _structures(c_real)
        self._room = torch.zeros(0, dtype=self.real)

    def layer(
        self,
        linear: Tensor,
        active: Tensor,
        bias: Tensor,
        norm: Sequence[Tensor],
        moments: tuple[Tensor, Tensor],
    ) -> Job:
        """A hidden layer of one network, for `forward`.

        Args:
            linear: (N, H) products without the bias.
            active: (N, H) where what comes after the ReLU goes.
            bias: (H,).
            norm: Gain and shift, (H,) each, or nothing.
            moments: Mean and reciprocal deviation, (N,) each, where they are kept for the way back.
        """
        gain, shift = norm or (None, None)
        if self._room.numel() < 4 * linear.shape[1]:
            self._room = torch.zeros(4 * linear.shape[1], dtype=self.real)
        return _job(
            self._layer,
            rows=linear.shape[0],
            width=linear.shape[1],
            linear=self._stored(linear),
            active=self._stored(active),
            bias=self._real(bias),
            gain=self._real(gain),
            shift=self._real(shift),
            mean=self._real(moments[0]),
            rstd=self._real(moments[1]),
            eps=EPSILON,
        )

    def head(
        self,
        weight: Tensor,
        bias: Tensor,
        values: Tensor,
        d_values: Tensor | None = None,
        gradient: tuple[Tensor, Tensor] | None = None,
    ) -> Job:
        """The last layer of one network, for `values` and, with `d_values`, the way back.

        Args:
            weight: (O, H).
            bias: (O,).
            values: (N, O), with any strides.
            d_values: Gradient of the loss by them, with the same strides.
            gradient: Where those of weight and bias go, if wanted.
        """
        if d_values is not None and d_values.stride() != values.stride():
            raise ValueError(f"values lie as {values.stride()}, gradients as {d_values.stride()}")
        d_weight, d_bias = gradient or (None, None)
        return _job(
            self._head,
            outputs=values.shape[1],
            row_stride=values.stride(0),
            output_stride=values.stride(1),
            weight=self._real(weight),
            bias=self._real(bias),
            values=self._typed(values, self.real),
            d_values=self._typed(d_values, self.real),
            d_weight=self._real(d_weight),
            d_bias=self._real(d_bias),
        )

    def back(self, layer: Job, head: Job | None, d: Tensor, gradient: Sequence[Tensor]) -> Job:
        """The way back through a hidden layer, for `backward`.

        Args:
            layer: The layer.
            head: The head if it is the last one; else `d` comes as the gradient by its output.
            d: (N, H) becomes the gradient by its products.
            gradient: Where those of bias and, if normalised, gain and shift go; or nothing.
        """
        wanted = [*gradient, None, None, None][:3]
        job = _job(
            self._back,
            layer=ctypes.addressof(layer),
            head=None if head is None else ctypes.addressof(head),
            d=self._stored(d),
            d_bias=self._real(wanted[0]),
            d_gain=self._real(wanted[1]),
            d_shift=self._real(wanted[2]),
        )
        job.keeps += [layer, head]
        return job

    def adam(
        self,
        parameter: Tensor,
        gradient: Tensor,
        moments: tuple[Tensor, Tensor],
        copy: Tensor | None,
        settings: tuple[float, float, float, float],
    ) -> Job:
        """Adam over vectors, for `step`.

        Args:
            parameter: (n,).
            gradient: (n,) in either type.
            moments: First and second, (n,) each.
            copy: (n,) where the parameters go as they are stored, if that is another type.
            settings: Learning rate, beta 1, beta 2, epsilon.
        """
        stored = gradient.dtype is self.store and self.store is not self.real
        rate, beta1, beta2, eps = settings
        return _job(
            self._adam,
            size=parameter.numel(),
            parameter=self._real(parameter),
            first=self._real(moments[0]),
            second=self._real(moments[1]),
            gradient=None if stored else self._real(gradient),
            stored_gradient=self._stored(gradient) if stored else None,
            copy=self._stored(copy),
            rate=rate,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
        )

    def forward(self, layer: Job) -> None:
        """Bias, normalisation if there is one, ReLU."""
        self._library.wk_forward(layer.pointer, self._room.data_ptr())

    def values(self, layer: Job, head: Job) -> None:
        """The head's values of a layer's output."""
        self._library.wk_head_forward(layer.pointer, head.pointer, self._room.data_ptr())

    def backward(self, back: Job) -> None:
        """One layer back."""
        self._library.wk_backward(back.pointer, self._room.data_ptr())

    def step(self, adam: Job, correction1: float, correction2: float) -> None:
        """One step of Adam; the corrections are 1 - beta^t."""
        self._library.wk_adam(adam.pointer, correction1, correction2)

    def follow(self, job: Job, tau: float) -> None:
        """Do target += tau (live - target), and what is stored in another type after it."""
        self._library.wk_follow(*job, tau)

    def follower(self, target: Tensor, live: Tensor, copy: Tensor | None) -> Job:
        """A target's way after the live parameters, for `follow`.

        Args:
            target: (n,).
            live: (n,).
            copy: (m,) where the first m go as they are stored, if that is another type.
        """
        vectors = (self._real(target), self._real(live), self._stored(copy))
        address = [None if x is None else x.data_ptr() for x in vectors]
        n_copied = 0 if copy is None else copy.numel()
        return (*address[:2], target.numel(), address[2], n_copied)

    def _real(self, tensor: Tensor | None) -> Tensor | None:
        return self._typed(tensor, self.real, whole=True)

    def _stored(self, tensor: Tensor | None) -> Tensor | None:
        return self._typed(tensor, self.store, whole=True)

    @staticmethod
    def _typed(tensor: Tensor | None, kind: torch.dtype, whole: bool = False) -> Tensor | None:
        # C sees an address: what type and layout lie there is checked here, once per job.
        if tensor is not None and (
            tensor.dtype is not kind or (whole and not tensor.is_contiguous())
        ):
            raise ValueError(f"{kind} without gaps expected, got {tensor.dtype} {tensor.stride()}")
        return tensor


def _job(structure: type, **fields: Any) -> Job:
    job: Any = structure()
    job.keeps = [x for x in fields.values() if isinstance(x, Tensor)]
    for name, value in fields.items():
        setattr(job, name, value.data_ptr() if isinstance(value, Tensor) else value)
    job.pointer = ctypes.byref(job)
    return job


@cache
def _library(bits: int) -> ctypes.CDLL:
    source = Path(str(files("learning"))) / "kernels.c"
    library = load_library(source, (*_FLAGS, f"-DWK_STORE={bits}"))
    pointer, size, number = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_double
    for name, arguments in {
        "wk_forward": [pointer, pointer],
        "wk_head_forward": [pointer, pointer, pointer],
        "wk_backward": [pointer, pointer],
        "wk_adam": [pointer, number, number],
        "wk_follow": [pointer, pointer, size, pointer, size, number],
    }.items():
        function = getattr(library, name)
        function.restype, function.argtypes = None, arguments
    return library


def prefer_onednn() -> bool:
    """Let oneDNN do this process's float32 products, if they come out as exact as they were.

    MKL leaves half of an AMD processor's width unused. PyTorch hands float32 products to oneDNN
    when bfloat16 inside would be good enough; without the instructions for that, oneDNN computes in
    float32. Where it does round, things stay as they were.

    Returns:
        Whether oneDNN does them now.
    """
    settings = getattr(torch.backends.mkldnn, "matmul", None)
    if settings is None:
        return False
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(64, 64, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    good = bool(((a @ b).double() - exact).abs().max() < 1e-5 * exact.abs().max())
    if not good:
        settings.fp32_precision = before
    return good
