# SPDX-License-Identifier: MIT
"""Compiles and loads `kernels.c`, and mirrors the C structures of its arguments in ctypes."""

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

KernelArguments = Any  # a ctypes structure of addresses; keeps the tensors they point to alive


class Structures(NamedTuple):
    """The ctypes structure types, with the fields of the C structures in their order."""

    layer: type
    head: type
    layer_backward: type
    input: type
    matrix: type
    parameters: type
    sample: type
    target: type


@cache
def structures(real: Any) -> Structures:
    """The structure types, with `real` (a ctypes float type) for the C type of that name."""

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
            "weight bias values td_target d_values d_weight d_bias",
            "scale",
        ),
        structure(
            "LayerBackward",
            "transposed_weight rows",
            "layer head above weight samples d d_packed x_packed d_weight d_bias d_gain d_shift",
        ),
        structure("Input", "rows columns to_stride", "to packed"),
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
        structure(
            "Target", "rows critics costs", "next log_prob td_target", "discount cost_discount"
        ),
    )


def make_arguments(structure: type, **fields: Any) -> KernelArguments:
    """An instance of a structure type, with tensors as their addresses; keeps the tensors alive."""
    args: Any = structure()
    args.keeps = [x for x in fields.values() if isinstance(x, Tensor)]
    for name, value in fields.items():
        setattr(args, name, value.data_ptr() if isinstance(value, Tensor) else value)
    args.pointer = ctypes.byref(args)
    return args


@cache
def library(store: torch.dtype) -> ctypes.CDLL:
    """Compile (once, cached) and load the kernels for one type of matrix factors.

    Raises:
        NotCompiled: There is no C compiler on this machine, or it failed.
    """
    headers = [FOLDER / name for name in HEADERS]
    flags = (*FLAGS, f"-DWK_STORE={_BITS[store]}")
    loaded = load_library(FOLDER / "kernels.c", flags, headers)
    pointer, size, number = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_double
    for name, result, arguments in (
        ("wk_scratch_size", size, [size]),
        ("wk_packed_size", size, [size, size]),
        ("wk_forward", None, [pointer, size, pointer, pointer]),
        ("wk_backward", None, [pointer, size, pointer]),
        ("wk_add_input_gradient", None, [pointer, pointer, size, pointer, pointer]),
        ("wk_store_input", None, [pointer, pointer, size]),
        ("wk_sample_actions", None, [pointer]),
        ("wk_sample_backward", None, [pointer, number]),
        ("wk_targets", None, [pointer, pointer, pointer, pointer, size, number]),
        ("wk_value_gradient", None, [size, size, size, pointer, pointer, pointer]),
        ("wk_step", None, [pointer, number, number, pointer]),
        ("wk_pack", None, [pointer, pointer]),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
