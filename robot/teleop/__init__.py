# SPDX-License-Identifier: MIT
"""Driving what a run has learned: orders by script, keyboard or gamepad, one engine that acts."""
