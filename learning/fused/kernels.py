# SPDX-License-Identifier: MIT
"""What `kernels.c` does, on tensors: all of an update that is not tiny.

Work is described once, in structures of addresses (`Job`), and then done by handing over one
pointer, because a call with a dozen arguments takes as long as the work. A job keeps the tensors
it points to alive; they may be written to, but never replaced.

Factors of products are *stored* in one type and with whole units per row (`Kernels.stored`), and
the right ones *packed* (`Kernels.packed`); `product.h` says how and why.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from walkhome.learning.fused.kernel_library import Job, library, make_job, structures

EPSILON = 1e-5  # of torch.nn.LayerNorm


class Matrix(NamedTuple):
    """A matrix of parameters, and where it goes packed.

    Attributes:
        rows: Of the matrix, R; one that no product reads may be a single row.
        columns: C.
        packed: (R, C).
        transposed: (C, R - first_row), of the rows from `first_row` on.
        first_row: Likewise.
        target: (R, C), of the target.
    """

    rows: int
    columns: int
    packed: Tensor | None = None
    transposed: Tensor | None = None
    first_row: int = 0
    target: Tensor | None = None


class Kernels:
    """The compiled code for one type of factors.

    Args:
        store: float32, bfloat16, or float64 (for proofs): what products read.

    Raises:
        NotCompiled: There is no C compiler here.

    Attributes:
        store: Likewise.
        real: What parameters, sums and moments are: float64 for float64, else float32.
        library: The C itself.
        kinds: Its structures.
    """

    def __init__(self, store: torch.dtype) -> None:
        self.store = store
        self.real = torch.float64 if store is torch.float64 else torch.float32
        self._per_unit = 2 if store is torch.bfloat16 else 1
        self.library = library(store)
        self.kinds = structures(ctypes.c_double if store is torch.float64 else ctypes.c_float)
        self._room = torch.zeros(0, dtype=self.real)

    def stored(self, rows: int, columns: int) -> Tensor:
        """Zeros for (rows, columns) factors: rows of whole units, and units of whole rows."""
        rows, columns = (-(-n // self._per_unit) * self._per_unit for n in (rows, columns))
        return torch.zeros(rows, columns, dtype=self.store)

    def packed(self, rows: int, columns: int) -> Tensor:
        """Zeros for a packed right factor (rows, columns)."""
        return torch.zeros(self.library.wk_packed_size(rows, columns), dtype=self.store)

    def layer(
        self,
        x: Tensor,
        weight: Tensor,
        rest: Sequence[Tensor],
        active: Tensor,
        normal: tuple[Tensor, Tensor] | None,
        packed: Tensor | None,
    ) -> Job:
        """A hidden layer of one network, for `forward`.

        Args:
            x: (N, in) stored; rows may have gaps.
            weight: (in, H) packed.
            rest: Bias and, if normalised, gain and shift, (H,) each.
            active: (N, H) stored: where what comes after the ReLU goes.
            normal: (N, H) stored, normalised, and (N,) reciprocal deviations: for the way back.
            packed: (N, H), the same packed, for the gradient by the next weights.
        """
        bias, gain, shift = [*rest, None, None][:3]
        rows, inputs = x.shape
        width = len(rest[0])
        self._need_room(max(inputs, width))
        if x.dtype is not self.store or x.stride(1) != 1 or x.stride(0) % self._per_unit:
            raise ValueError(f"{self.store} in whole units expected, got {x.dtype} {x.stride()}")
        return make_job(
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
        wanted: tuple[Tensor, float] | None = None,
    ) -> Job:
        """The last layer of one network, for `forward` and, with `d_values`, the way back.

        Args:
            weight: (O, H).
            bias: (O,).
            values: (N, O), with any strides.
            d_values: Gradient of the loss by them, with the same strides.
            gradient: Where those of weight and bias go, if wanted.
            wanted: What the values should be, with the same strides, and a factor: `forward` then
                makes `d_values` the factor times their errors.
        """
        aim, scale = wanted or (None, 0.0)
        for like in (d_values, aim):
            if like is not None and like.stride() != values.stride():
                raise ValueError(f"values lie as {values.stride()}, not as {like.stride()}")
        d_weight, d_bias = gradient or (None, None)
        return make_job(
            self.kinds.head,
            outputs=values.shape[1],
            row_stride=values.stride(0),
            output_stride=values.stride(1),
            weight=self.as_real(weight),
            bias=self.as_real(bias),
            values=self.typed(values, self.real),
            wanted=self.typed(aim, self.real),
            d_values=self.typed(d_values, self.real),
            d_weight=self.as_real(d_weight),
            d_bias=self.as_real(d_bias),
            scale=scale,
        )

    def back(
        self,
        layer: Job,
        after: Job | tuple[Job, Tensor],
        d: Tensor,
        gradient: tuple[Tensor, Tensor, Tensor, bool] | None,
        rest: Sequence[Tensor] = (),
        samples: Tensor | None = None,
    ) -> Job:
        """The way back through a hidden layer, for `backward`.

        Args:
            layer: The layer.
            after: The head if it is the last one; else the way back through the layer above, and
                that one's weights transposed, (H above, H) packed.
            d: (N, H) stored: becomes the gradient by its products.
            gradient: `d` packed, the layer's input packed, (N, in), and where the gradient by the
                weights goes, (in, H), or (H, in) if the fourth says so.
            rest: Where those of bias and, if normalised, gain and shift go.
            samples: (N,) int32 room for the numbers of those that have a gradient, one for all
                layers, where none goes to parameters: the others then cost nothing.
        """
        head, (above, weight) = (None, after) if isinstance(after, tuple) else (after, (None, None))
        d_packed, x_packed, d_weight, turned = gradient or (None, None, None, False)
        wanted = [*rest, None, None, None][:3]
        above_width = above.keeps[-1].width if above is not None else 0
        job = make_job(
            self.kinds.back,
            layer=ctypes.addressof(layer),
            head=None if head is None else ctypes.addressof(head),
            above=None if above is None else ctypes.addressof(above),
            weight=self._packed(weight, above_width, layer.width),
            samples=self.typed(samples, torch.int32),
            d=self._stored(d),
            d_packed=self._packed(d_packed, layer.rows, layer.width),
            x_packed=self._packed(x_packed, layer.rows, layer.inputs, or_more=True),
            d_weight=self.as_real(d_weight),
            turned=turned,
            d_bias=self.as_real(wanted[0]),
            d_gain=self.as_real(wanted[1]),
            d_shift=self.as_real(wanted[2]),
        )
        job.keeps += [head, above, layer]
        return job

    def intake(self, to: Tensor, packed: Tensor | None = None) -> Job:
        """Where numbers from outside become factors, for `take_in`.

        Args:
            to: (N, n) stored; rows may have gaps.
            packed: (N, n) the same packed.
        """
        rows, columns = to.shape
        return make_job(
            self.kinds.intake,
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
    ) -> Job:
        """Parameters that step together, for `step` and `pack`.

        Args:
            matrices: What the vectors hold, one after the other.
            values: (n,).
            gradient: (n,).
            moments: Adam's first and second, (n,) each.
            settings: Learning rate, beta 1, beta 2, epsilon.
            target: (n,) what follows the values, and by which share of the way.
        """
        for matrix in matrices:
            self._need_room(matrix.columns if matrix.packed is not None else 0)
        kind: Any = self.kinds.matrix
        array = (kind * len(matrices))(*(self._matrix(m) for m in matrices))
        rate, beta1, beta2, eps = settings
        vector, tau = target or (None, 0.0)
        job = make_job(
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
        job.keeps += [array, *matrices]
        return job

    def chain(self, jobs: Sequence[Job]) -> Job:
        """Layers, or ways back through them, in the order in which they are done."""
        array: Any = (ctypes.c_void_p * len(jobs))(*(ctypes.addressof(job) for job in jobs))
        array.keeps = list(jobs)
        return array

    def forward(self, layers: Job, head: Job) -> None:
        """Through a chain of layers to the head's values."""
        self.library.wk_forward(layers, len(layers), head.pointer, self._room.data_ptr())

    def backward(self, backs: Job) -> None:
        """From the gradient by the head's values through a chain of ways back."""
        self.library.wk_backward(backs, len(backs), self._room.data_ptr())

    def add_input_gradient(self, back: Job, weight: Tensor, to: Tensor) -> None:
        """Add the gradient by some inputs of the first layer to `to`.

        Args:
            back: The way back through that layer, done.
            weight: Transpose of their weights, (H, n) packed.
            to: (N, n).
        """
        columns = to.shape[1]
        room = self._room.data_ptr()
        self.library.wk_add_input_gradient(
            back.pointer, weight.data_ptr(), columns, to.data_ptr(), room
        )

    def take_in(self, job: Job, numbers: Tensor) -> None:
        """Write (N, n) numbers, whose rows may have gaps, to where the job says."""
        if numbers.shape != (job.rows, job.columns) or numbers.stride(1) != 1:
            raise ValueError(f"({job.rows}, {job.columns}) expected, got {tuple(numbers.shape)}")
        self.typed(numbers, self.real)
        self.library.wk_take_in(job.pointer, numbers.data_ptr(), numbers.stride(0))

    def step(self, parameters: Job, correction1: float, correction2: float) -> None:
        """One step of Adam; the corrections are 1 - beta^t. Targets follow; all is packed."""
        room = self._room.data_ptr()
        self.library.wk_step(parameters.pointer, correction1, correction2, room)

    def pack(self, parameters: Job) -> None:
        """Pack again what was written to from outside."""
        self.library.wk_pack(parameters.pointer, self._room.data_ptr())

    def _need_room(self, width: int) -> None:
        size = self.library.wk_room(width)
        if self._room.numel() < size:
            self._room = torch.zeros(size, dtype=self.real)

    def _matrix(self, matrix: Matrix) -> Job:
        rows, columns, packed, transposed, first_row, target = matrix
        return make_job(
            self.kinds.matrix,
            rows=rows,
            columns=columns,
            packed=self._packed(packed, rows, columns),
            transposed=self._packed(transposed, columns, rows - first_row),
            first_row=first_row,
            target=self._packed(target, rows, columns),
        )

    # C sees an address: what type and layout lie there is checked here, once per job.

    def as_real(self, tensor: Tensor | None) -> Tensor | None:
        """The same, checked.

        Raises:
            ValueError: It is of another type than `real`, or has gaps.
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
        """The same, checked for its type and, if it must be whole, for gaps."""
        if tensor is not None and (
            tensor.dtype is not kind or (whole and not tensor.is_contiguous())
        ):
            raise ValueError(f"{kind} without gaps expected, got {tensor.dtype} {tensor.stride()}")
        return tensor
