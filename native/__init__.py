# SPDX-License-Identifier: MIT
"""Compiles C files at first use and loads them with `ctypes`."""
