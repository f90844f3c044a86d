# SPDX-License-Identifier: MIT
"""Compiles C files at first use and loads them with `ctypes`."""

if __name__ != "walkhome.native":  # started or imported from the top of a checkout
    raise ImportError(
        f"this package is walkhome.native: import it under that name, not as {__name__!r}"
    )
