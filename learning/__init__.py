# SPDX-License-Identifier: MIT
"""Constrained SAC: learner, replay, policies. Works on arrays; knows nothing of the robot."""
