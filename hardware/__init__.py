# SPDX-License-Identifier: MIT
"""The robot: body, state, commands, serial link, pose sources. Imports no other package of ours."""

if __name__ != "walkhome.hardware":  # started or imported from the top of a checkout
    raise ImportError(
        f"this package is walkhome.hardware: import it under that name, not as {__name__!r}"
    )
