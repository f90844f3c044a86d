# SPDX-License-Identifier: MIT
"""Ablation studies: `robot learn` for each variant and seed, and statistics that compare them."""
