# SPDX-License-Identifier: MIT
"""Policies that were never learned: each leans to its own posture, in which the twin stands."""

import numpy as np

from walkhome.learning.policy import NumpyPolicy

TASKS = ("forward", "backward", "left", "right")


def posture_policy(layout_size, action, rng=None, gain=0.0):
    """A policy that leans to one posture, whatever it sees; with a gain, it also shakes."""
    weight = np.zeros((16, layout_size), np.float32)
    if rng is not None:
        weight[:8] = gain * rng.standard_normal((8, layout_size))
    bias = np.concatenate([np.arctanh(np.clip(action, -0.99, 0.99)), np.zeros(8)])
    return NumpyPolicy([(weight, bias.astype(np.float32))])
