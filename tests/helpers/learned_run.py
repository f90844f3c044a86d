# SPDX-License-Identifier: MIT
"""Policies that were not learned: each holds a posture in which the twin stands."""

import numpy as np

from walkhome.learning.policy import NumpyPolicy

TASKS = ("forward", "backward", "left", "right")


def posture_policy(layout_size, action, rng=None, gain=0.0):
    """A policy that asks for one action whatever it observes.

    Args:
        layout_size: size of the observation.
        action: (8,) in [-1, 1].
        rng: draws weights, so that the action also depends on the observation; None: it does not.
        gain: standard deviation of these weights.
    """
    weight = np.zeros((16, layout_size), np.float32)
    if rng is not None:
        weight[:8] = gain * rng.standard_normal((8, layout_size))
    bias = np.concatenate([np.arctanh(np.clip(action, -0.99, 0.99)), np.zeros(8)])
    return NumpyPolicy([(weight, bias.astype(np.float32))])
