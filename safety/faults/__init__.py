# SPDX-License-Identifier: MIT
"""The fault matrix and the budget of faults per time."""
