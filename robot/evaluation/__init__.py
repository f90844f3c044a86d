# SPDX-License-Identifier: MIT
"""Deterministic roll-outs of learned policies, gait analysis, confidence intervals."""
