# SPDX-License-Identifier: MIT
"""Ablations: a study is variants times seeds of `robot learn`, compared with honest statistics."""
