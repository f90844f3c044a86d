# SPDX-License-Identifier: MIT
"""`robot estop`: press, clear or query the emergency stop from any shell."""

from __future__ import annotations

from typing import Annotated

import typer

from walkhome.robot.cli.errors import fail
from walkhome.robot.exit_codes import EXIT_FAILED


def estop(
    clear: Annotated[
        bool, typer.Option("--clear", help="Release the emergency stop. No robot starts moving.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Print whether it is pressed.")] = False,
) -> None:
    """Cut the torque of all robots of this user now.

    The stop stays latched, across restarts too, until --clear.
    """
    from walkhome.safety.supervisor import estop as latch

    if clear and status:
        fail("--clear and --status exclude each other")
    try:
        if status:
            found = latch.read()
            typer.echo(f"pressed: {found.reason} ({found.wall_time})" if found else "not pressed")
        elif clear:
            found = latch.clear()
            typer.echo(f"cleared; it was pressed by: {found.reason}" if found else "not pressed")
            if found:
                typer.echo("a board that it stopped: robot doctor --port PORT --release")
        else:
            path = latch.press("robot estop")
            typer.echo(f"STOP pressed and latched ({path}); clear with: robot estop --clear")
    except OSError as error:
        what = "cleared" if clear else "pressed"
        fail(
            f"the emergency stop can't be {what}: {error.filename}: {error.strerror}; "
            "take the robot's power",
            EXIT_FAILED,
        )
