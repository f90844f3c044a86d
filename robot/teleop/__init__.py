# SPDX-License-Identifier: MIT
"""Teleoperation: a script, keyboard or gamepad drives the twin or a robot with learned gaits."""
