# SPDX-License-Identifier: MIT
"""Pose sources and the guard that checks every pose."""
