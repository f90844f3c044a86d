# SPDX-License-Identifier: MIT
"""The verbs for a robot on a serial port: doctor, calibrate, stand-up."""

from __future__ import annotations

import json
import math
from typing import Annotated

import typer

from walkhome.robot.cli.common import (
    ConfigOption,
    JsonOption,
    PortOption,
    PoseOption,
    SetOption,
    resolve,
)
from walkhome.robot.cli.errors import bad_input, board_refusals, fail
from walkhome.robot.cli.output import exit_after_cut
from walkhome.robot.cli.stop_signal import StopSignal
from walkhome.robot.exit_codes import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_SAFETY


def doctor(
    port: PortOption = None,
    pose: PoseOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    release: Annotated[
        bool, typer.Option("--release", help="Release the board's latched emergency stop.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=3600.0, help="Duration of the timing measurement, s.")
    ] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """List the serial ports; with --port, check whether the robot there can be armed.

    The motors get no torque.
    """
    with StopSignal() as stop, bad_input(), board_refusals():
        if math.isnan(seconds):
            fail("--seconds: write a number")
        from walkhome.robot.board.doctor import examine, format_report, list_all_ports

        if port is None:
            if release or pose is not None:
                fail("--release and --pose go with --port")
            _tell_ports(list_all_ports(), as_json)
            return
        resolved = resolve(None, None, None, None, config, overrides, port, pose).config
        result = examine(resolved, port, release, seconds, lambda: stop.requested)
    if as_json:
        from walkhome.robot.storage.atomic_files import dump

        typer.echo(dump(result))
    else:
        typer.echo(format_report(result))
    raise typer.Exit(0 if result["ready"] else EXIT_FAILED)


def _tell_ports(found: dict[str, object], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found))
        return
    listed = found["ports"]
    assert isinstance(listed, list)
    if not listed:
        typer.echo("no serial ports; plug the robot in, or try: robot emulate")
    for one in listed:
        typer.echo(f"{one['by_id']}  {one['what']}")
        for advice in one["advice"]:
            typer.echo(f"  {advice}")


def calibrate(
    port: Annotated[str, typer.Option(metavar="PORT", help="Serial port of the robot's board.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask whether the robot is in its jig.")
    ] = False,
) -> None:
    """Measure the encoder zeros of a robot in its jig and save them for this robot.

    The motors get no torque.
    """
    with bad_input(), board_refusals():
        from walkhome.robot.board.calibrate import calibrate as measure
        from walkhome.robot.board.calibrate import jig_instructions

        typer.echo(jig_instructions())
        if not yes and not typer.confirm("Is it there?"):
            raise typer.Exit(EXIT_INTERRUPTED)
        done = measure(resolve(None, None, None, None, None, None).config, port)
    zeros = ", ".join(f"{zero:+.3f}" for zero in done.zero_rad)
    typer.echo(f"robot {done.robot_id!r}: zeros {zeros} rad")
    if math.isfinite(done.change_rad):
        typer.echo(f"largest change: {done.change_rad:.3f} rad")
    typer.echo(f"written to {done.path}")


def stand_up(
    port: Annotated[str, typer.Option(metavar="PORT", help="Serial port of the robot's board.")],
    seconds: Annotated[
        float, typer.Option(min=0.0, max=600.0, help="Time to stand before sitting down, s.")
    ] = 3.0,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Let a robot stand up, stand for a while, and sit down."""
    with StopSignal() as stop, bad_input(), board_refusals():
        if math.isnan(seconds):
            fail("--seconds: write a number")
        from walkhome.robot.board.stand_up import stand_up as run

        resolved = resolve(None, None, None, None, config, overrides, port).config
        try:
            outcome = run(resolved, port, seconds, lambda: stop.requested, typer.echo)
        except KeyboardInterrupt:
            exit_after_cut(port)
        if stop.requested:
            raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(0 if outcome else EXIT_SAFETY)
