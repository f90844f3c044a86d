# SPDX-License-Identifier: MIT
"""The application: control, training, evaluation, teleoperation, reports and the command line."""

if __name__ != "walkhome.robot":  # started or imported from the top of a checkout
    raise ImportError(
        f"this package is walkhome.robot: import it under that name, not as {__name__!r}; "
        "the command is `walkhome`, or `python -m walkhome.robot.cli`"
    )
