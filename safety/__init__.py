# SPDX-License-Identifier: MIT
"""May this command go out, is the robot down, how does it get up. No torch, no simulator."""

if __name__ != "walkhome.safety":  # started or imported from the top of a checkout
    raise ImportError(
        f"this package is walkhome.safety: import it under that name, not as {__name__!r}"
    )
