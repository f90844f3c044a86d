# SPDX-License-Identifier: MIT
"""Python interface to `kernels.c`: layers, heads, their gradients and Adam, on tensors.

    build once per batch size: tensors --> KernelArguments (a C structure of addresses)
    run at every update:       KernelArguments --> one C call

A call with a dozen arguments takes as long as the work itself, so the arguments are put into a
structure once and the call passes one pointer. The structure keeps its tensors alive; they may be
written to, but never replaced, because C reads their addresses.

Factors of matrix products are *stored* in one type with whole units per row (`Kernels.stored`), and
right factors are *packed* into panels (`Kernels.packed`); README.md and `product.h` say why.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from walkhome.learning.fused.kernel_library import (
    KernelArguments,
    library,
    make_arguments,
    structures,
)

EPSILON = 1e-5  # of torch.nn.LayerNorm


class Matrix(NamedTuple):
    """A matrix of parameters and the buffers for its packed copies.

    Attributes:
        rows: R. Parameters that no product reads are one row.
        columns: C.
        packed: Packed copy, (R, C); None if no product reads it.
        transposed: Packed transpose of the rows from `first_row` on, (C, R - first_row).
        first_row: First row that `transposed` holds.
        target: Packed copy of the target network's matrix, (R, C).
    """

    rows: int
    columns: int
    packed: Tensor | None = None
    transposed: Tensor | None = None
    first_row: int = 0
    target: Tensor | None = None


class Kernels:
    """The compiled kernels for one type of matrix factors.

    Args:
        store: Type of the factors: float32, bfloat16, or float64 (for tests of the mathematics).

    Raises:
        NotCompiled: There is no C compiler on this machine, or it failed.

    Attributes:
        store: Type of the factors.
        real: Type of parameters, sums and moments: float64 for float64, otherwise float32.
        library: The loaded C library.
        kinds: The structure types of the arguments.
    """

    def __init__(self, store: torch.dtype) -> None:
        self.store = store
        self.real = torch.float64 if store is torch.float64 else torch.float32
        self._per_unit = 2 if store is torch.bfloat16 else 1
        self.library = library(store)
        self.kinds = structures(ctypes.c_double if store is torch.float64 else ctypes.c_float)
        self._scratch = torch.zeros(0, dtype=self.real)

    def stored(self, rows: int, columns: int) -> Tensor:
        """A zeroed left factor in type `store`, (rows, columns), both rounded up to whole units."""
        rows, columns = (-(-n // self._per_unit) * self._per_unit for n in (rows, columns))
        return torch.zeros(rows, columns, dtype=self.store)

    def packed(self, rows: int, columns: int) -> Tensor:
        """A zeroed, flat buffer for a packed right factor of (rows, columns)."""
        return torch.zeros(self.library.wk_packed_size(rows, columns), dtype=self.store)

    def layer(
        self,
        x: Tensor,
        weight: Tensor,
        rest: Sequence[Tensor],
        active: Tensor,
        normal: tuple[Tensor, Tensor] | None,
        packed: Tensor | None,
    ) -> KernelArguments:
        """Arguments of one hidden layer, for `forward`.

        Args:
            x: (N, in) stored input; rows may have gaps.
            weight: (in, H) packed.
            rest: Bias and, with layer normalisation, gain and shift, (H,) each.
            active: (N, H) stored output after the ReLU.
            normal: Outputs that backward needs with layer normalisation: (N, H) stored normalised
                rows and (N,) reciprocal standard deviations.
            packed: (N, H) packed copy of `active`, for the gradient of the next layer's weight.

        Raises:
            ValueError: A tensor has the wrong type or layout.
        """
        bias, gain, shift = [*rest, None, None][:3]
        rows, inputs = x.shape
        width = len(rest[0])
        self._reserve_scratch(max(inputs, width))
        if x.dtype is not self.store or x.stride(1) != 1 or x.stride(0) % self._per_unit:
            raise ValueError(f"{self.store} in whole units expected, got {x.dtype} {x.stride()}")
        return make_arguments(
            self.kinds.layer,
            rows=rows,
            inputs=inputs,
            width=width,
            x_stride=x.stride(0),
            x=x,
            weight=self._packed(weight, inputs, width),
            bias=self.as_real(bias),
            gain=self.as_real(gain),
            shift=self.as_real(shift),
            active=self._stored(active),
            normal=self._stored(normal[0]) if normal else None,
            rstd=self.as_real(normal[1]) if normal else None,
            packed=self._packed(packed, rows, width),
            eps=EPSILON,
        )

    def head(
        self,
        weight: Tensor,
        bias: Tensor,
        values: Tensor,
        d_values: Tensor | None = None,
        gradient: tuple[Tensor, Tensor] | None = None,
        td_target: tuple[Tensor, float] | None = None,
    ) -> KernelArguments:
        """Arguments of a network's output layer, for `forward` and, with `d_values`, `backward`.

        Args:
            weight: (O, H).
            bias: (O,).
            values: (N, O) output, with any strides.
            d_values: Gradient of the loss with respect to `values`, with the same strides.
            gradient: Outputs for the gradients of weight and bias; None skips them.
            td_target: (N, O) TD targets, with the same strides, and a factor: `forward` then sets
                `d_values` = factor * (values - targets), the gradient of the squared error.

        Raises:
            ValueError: A tensor has the wrong type or layout.
        """
        target, scale = td_target or (None, 0.0)
        for like in (d_values, target):
            if like is not None and like.stride() != values.stride():
                raise ValueError(
                    f"values have strides {values.stride()}, another tensor {like.stride()}"
                )
        d_weight, d_bias = gradient or (None, None)
        return make_arguments(
            self.kinds.head,
            outputs=values.shape[1],
            row_stride=values.stride(0),
            output_stride=values.stride(1),
            weight=self.as_real(weight),
            bias=self.as_real(bias),
            values=self.typed(values, self.real),
            td_target=self.typed(target, self.real),
            d_values=self.typed(d_values, self.real),
            d_weight=self.as_real(d_weight),
            d_bias=self.as_real(d_bias),
            scale=scale,
        )

    def layer_backward(
        self,
        layer: KernelArguments,
        after: KernelArguments | tuple[KernelArguments, Tensor],
        d: Tensor,
        gradient: tuple[Tensor, Tensor, Tensor, bool] | None,
        rest: Sequence[Tensor] = (),
        samples: Tensor | None = None,
    ) -> KernelArguments:
        """Arguments of the backward pass through one hidden layer, for `backward`.

        Args:
            layer: The layer's own arguments.
            after: The head, for the last layer; otherwise the backward arguments of the layer above
                and that layer's transposed weight, (H above, H) packed.
            d: (N, H) stored output: gradient with respect to the layer's matrix product.
            gradient: None if no parameter needs a gradient; otherwise `d` packed, the layer's input
                packed, (N, in), the output for the weight's gradient, (in, H), and True if that
                output is transposed, (H, in).
            rest: Outputs for the gradients of bias and, with normalisation, gain and shift.
            samples: (N,) int32 scratch, shared by all layers, for the indices of the samples whose
                gradient is not zero; the others are skipped. Only without `gradient`.

        Raises:
            ValueError: A tensor has the wrong type or layout.
        """
        head, (above, weight) = (None, after) if isinstance(after, tuple) else (after, (None, None))
        d_packed, x_packed, d_weight, transposed_weight = gradient or (None, None, None, False)
        d_bias, d_gain, d_shift = [*rest, None, None, None][:3]
        above_width = above.keeps[-1].width if above is not None else 0
        args = make_arguments(
            self.kinds.layer_backward,
            layer=ctypes.addressof(layer),
            head=None if head is None else ctypes.addressof(head),
            above=None if above is None else ctypes.addressof(above),
            weight=self._packed(weight, above_width, layer.width),
            samples=self.typed(samples, torch.int32),
            d=self._stored(d),
            d_packed=self._packed(d_packed, layer.rows, layer.width),
            x_packed=self._packed(x_packed, layer.rows, layer.inputs, or_more=True),
            d_weight=self.as_real(d_weight),
            transposed_weight=transposed_weight,
            d_bias=self.as_real(d_bias),
            d_gain=self.as_real(d_gain),
            d_shift=self.as_real(d_shift),
        )
        args.keeps += [head, above, layer]
        return args

    def input_arguments(self, to: Tensor, packed: Tensor | None = None) -> KernelArguments:
        """Arguments of the kernel `store_input`.

        Args:
            to: (N, n) stored output; rows may have gaps.
            packed: (N, n) packed copy of it; None for none.
        """
        rows, columns = to.shape
        return make_arguments(
            self.kinds.input,
            rows=rows,
            columns=columns,
            to_stride=to.stride(0),
            to=self.typed(to, self.store),
            packed=self._packed(packed, rows, columns),
        )

    def parameters(
        self,
        matrices: Sequence[Matrix],
        values: Tensor,
        gradient: Tensor,
        moments: tuple[Tensor, Tensor],
        settings: tuple[float, float, float, float],
        target: tuple[Tensor, float] | None = None,
    ) -> KernelArguments:
        """Arguments of `step` and `pack`, for parameters that one optimiser updates.

        Args:
            matrices: Shapes and packed copies of the parts of the vectors, in their order.
            values: (n,) all parameters.
            gradient: (n,) their gradients.
            moments: Adam's first and second moments, (n,) each.
            settings: Learning rate, beta 1, beta 2, epsilon.
            target: (n,) parameters of the target networks, and tau; None for none.
        """
        for matrix in matrices:
            self._reserve_scratch(matrix.columns if matrix.packed is not None else 0)
        kind: Any = self.kinds.matrix
        array = (kind * len(matrices))(*(self._matrix(m) for m in matrices))
        rate, beta1, beta2, eps = settings
        vector, tau = target or (None, 0.0)
        args = make_arguments(
            self.kinds.parameters,
            n_matrices=len(matrices),
            matrices=ctypes.addressof(array),
            parameter=self.as_real(values),
            first=self.as_real(moments[0]),
            second=self.as_real(moments[1]),
            gradient=self.as_real(gradient),
            target=self.as_real(vector),
            rate=rate,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            tau=tau,
        )
        args.keeps += [array, *matrices]
        return args

    def chain(self, calls: Sequence[KernelArguments]) -> KernelArguments:
        """A C array of pointers to the arguments of layers, in the order in which they run."""
        array: Any = (ctypes.c_void_p * len(calls))(*(ctypes.addressof(args) for args in calls))
        array.keeps = list(calls)
        return array

    def forward(self, layers: KernelArguments, head: KernelArguments) -> None:
        """Run a chain of layers and the head; writes the head's values."""
        self.library.wk_forward(layers, len(layers), head.pointer, self._scratch.data_ptr())

    def backward(self, backs: KernelArguments) -> None:
        """Run a chain of `layer_backward` arguments, last layer first; writes all gradients."""
        self.library.wk_backward(backs, len(backs), self._scratch.data_ptr())

    def add_input_gradient(self, back: KernelArguments, weight: Tensor, to: Tensor) -> None:
        """Add the gradient with respect to some inputs of the first layer to `to`.

        Args:
            back: Backward arguments of the first layer, after `backward`.
            weight: Transposed weight of those inputs, (H, n) packed.
            to: (N, n).
        """
        columns = to.shape[1]
        scratch = self._scratch.data_ptr()
        self.library.wk_add_input_gradient(
            back.pointer, weight.data_ptr(), columns, to.data_ptr(), scratch
        )

    def store_input(self, args: KernelArguments, numbers: Tensor) -> None:
        """Copy (N, n) numbers, whose rows may have gaps, into the buffers of `args`.

        Raises:
            ValueError: They have another shape or type than the arguments were made for.
        """
        if numbers.shape != (args.rows, args.columns) or numbers.stride(1) != 1:
            raise ValueError(f"({args.rows}, {args.columns}) expected, got {tuple(numbers.shape)}")
        self.typed(numbers, self.real)
        self.library.wk_store_input(args.pointer, numbers.data_ptr(), numbers.stride(0))

    def step(self, parameters: KernelArguments, correction1: float, correction2: float) -> None:
        """One step of Adam, the targets' moving average, and all packed copies.

        Args:
            parameters: See `parameters`.
            correction1: 1 - beta1^t, the bias correction of the first moment.
            correction2: 1 - beta2^t, of the second moment.
        """
        scratch = self._scratch.data_ptr()
        self.library.wk_step(parameters.pointer, correction1, correction2, scratch)

    def pack(self, parameters: KernelArguments) -> None:
        """Renew all packed copies after parameters or targets were written from outside."""
        self.library.wk_pack(parameters.pointer, self._scratch.data_ptr())

    def _reserve_scratch(self, width: int) -> None:
        size = self.library.wk_scratch_size(width)
        if self._scratch.numel() < size:
            self._scratch = torch.zeros(size, dtype=self.real)

    def _matrix(self, matrix: Matrix) -> KernelArguments:
        rows, columns, packed, transposed, first_row, target = matrix
        return make_arguments(
            self.kinds.matrix,
            rows=rows,
            columns=columns,
            packed=self._packed(packed, rows, columns),
            transposed=self._packed(transposed, columns, rows - first_row),
            first_row=first_row,
            target=self._packed(target, rows, columns),
        )

    # C sees an address only, so type and layout are checked here, when arguments are built.

    def as_real(self, tensor: Tensor | None) -> Tensor | None:
        """Return the tensor after checking that it is contiguous and of type `real`.

        Raises:
            ValueError: It is not.
        """
        return self.typed(tensor, self.real, whole=True)

    def _stored(self, tensor: Tensor | None) -> Tensor | None:
        return self.typed(tensor, self.store, whole=True)

    def _packed(
        self, tensor: Tensor | None, rows: int, columns: int, or_more: bool = False
    ) -> Tensor | None:
        if tensor is not None:
            size, expected = tensor.numel(), self.library.wk_packed_size(rows, columns)
            if size < expected or (size > expected and not or_more):
                raise ValueError(f"({rows}, {columns}) packed are {expected} numbers, not {size}")
        return self._stored(tensor)

    @staticmethod
    def typed(tensor: Tensor | None, kind: torch.dtype, whole: bool = False) -> Tensor | None:
        """Return the tensor after checking its type and, if `whole`, that it is contiguous.

        Raises:
            ValueError: It has another type, or gaps.
        """
        if tensor is not None and (
            tensor.dtype is not kind or (whole and not tensor.is_contiguous())
        ):
            raise ValueError(f"{kind} without gaps expected, got {tensor.dtype} {tensor.stride()}")
        return tensor
