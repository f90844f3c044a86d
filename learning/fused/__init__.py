# SPDX-License-Identifier: MIT
"""The hand-written SAC update: C kernels and their Python driver."""
