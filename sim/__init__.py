# SPDX-License-Identifier: MIT
"""The PyBullet twin of the body, its motors and the terrains. Knows no task and never learns."""

if __name__ != "walkhome.sim":  # started or imported from the top of a checkout
    raise ImportError(
        f"this package is walkhome.sim: import it under that name, not as {__name__!r}"
    )
