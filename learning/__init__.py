# SPDX-License-Identifier: MIT
"""Constrained SAC: learner, replay, policies. Works on arrays; knows nothing of the robot."""

if __name__ != "walkhome.learning":  # started or imported from the top of a checkout
    raise ImportError(
        f"this package is walkhome.learning: import it under that name, not as {__name__!r}"
    )
