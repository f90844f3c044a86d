# SPDX-License-Identifier: MIT
"""`kernels.c` as a library, and the structures of addresses that it reads."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from walkhome.native.compiled import load_library

FLAGS = (
    "-std=c11",
    "-O3",
    "-march=native",
    "-mprefer-vector-width=512",
    "-ffp-contract=fast",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
)
FOLDER = Path(__file__).parent
HEADERS = ("forward.h", "objective.h", "packed.h", "parameters.h", "product.h")
_BITS = {torch.float32: 32, torch.bfloat16: 16, torch.float64: 64}

Job = Any  # a structure of addresses, with the tensors they lead to


class Structures(NamedTuple):
    """The kinds of structures there are, with the C's fields in the C's order."""

    layer: type
    head: type
    back: type
    intake: type
    matrix: type
    parameters: type
    sample: type
    target: type


@cache
def structures(real: Any) -> Structures:
    """Those for sums in a type of `ctypes`."""

    def structure(name: str, sizes: str, pointers: str, numbers: str = "") -> type:
        kinds = (ctypes.c_ssize_t, ctypes.c_void_p, real)
        parts = zip((sizes, pointers, numbers), kinds, strict=True)
        fields = [(field, kind) for names, kind in parts for field in names.split()]
        return type(name, (ctypes.Structure,), {"_fields_": fields})

    return Structures(
        structure(
            "Layer",
            "rows inputs width x_stride",
            "x weight bias gain shift active normal rstd packed",
            "eps",
        ),
        structure(
            "Head",
            "outputs row_stride output_stride",
            "weight bias values wanted d_values d_weight d_bias",
            "scale",
        ),
        structure(
            "Back",
            "turned rows",
            "layer head above weight samples d d_packed x_packed d_weight d_bias d_gain d_shift",
        ),
        structure("Intake", "rows columns to_stride", "to packed"),
        structure("Matrix", "rows columns first_row", "packed transposed target"),
        structure(
            "Parameters",
            "n_matrices",
            "matrices parameter first second gradient target",
            "rate beta1 beta2 eps tau",
        ),
        structure(
            "Sample",
            "rows actions to_stride",
            "head noise action log_prob to d_action d_head d_log_alpha",
            "low high target_entropy",
        ),
        structure("Target", "rows critics costs", "next log_prob wanted", "discount cost_discount"),
    )


def make_job(structure: type, **fields: Any) -> Job:
    """A structure filled in: tensors by their address; it keeps them alive."""
    job: Any = structure()
    job.keeps = [x for x in fields.values() if isinstance(x, Tensor)]
    for name, value in fields.items():
        setattr(job, name, value.data_ptr() if isinstance(value, Tensor) else value)
    job.pointer = ctypes.byref(job)
    return job


@cache
def library(store: torch.dtype) -> ctypes.CDLL:
    """The code for one type of factors.

    Raises:
        NotCompiled: There is no C compiler here.
    """
    headers = [FOLDER / name for name in HEADERS]
    flags = (*FLAGS, f"-DWK_STORE={_BITS[store]}")
    loaded = load_library(FOLDER / "kernels.c", flags, headers)
    pointer, size, number = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_double
    for name, result, arguments in (
        ("wk_room", size, [size]),
        ("wk_packed_size", size, [size, size]),
        ("wk_forward", None, [pointer, size, pointer, pointer]),
        ("wk_backward", None, [pointer, size, pointer]),
        ("wk_add_input_gradient", None, [pointer, pointer, size, pointer, pointer]),
        ("wk_take_in", None, [pointer, pointer, size]),
        ("wk_draw", None, [pointer]),
        ("wk_draw_back", None, [pointer, number]),
        ("wk_targets", None, [pointer, pointer, pointer, pointer, size, number]),
        ("wk_slopes", None, [size, size, size, pointer, pointer, pointer]),
        ("wk_step", None, [pointer, number, number, pointer]),
        ("wk_pack", None, [pointer, pointer]),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
