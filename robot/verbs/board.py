# SPDX-License-Identifier: MIT
"""The verbs for a board: emulate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from robot.command_line import (
    EXIT_INTERRUPTED,
    SeedOption,
    StopRequest,
    TerrainOption,
    bad_input,
    fail,
    failures,
    require_twin,
    resolve,
)


def emulate(
    terrain: TerrainOption = None,
    seed: SeedOption = None,
    real_time_factor: Annotated[
        float, typer.Option(min=0.01, max=100.0, help="1 is a robot's pace.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND@START:SECONDS", help="mute, freeze, garble, delay, unplug, ..."),
    ] = None,
    link: Annotated[
        Path | None, typer.Option(metavar="PATH", help="A symbolic link to the port is kept here.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Events, a JSON object a line.")
    ] = None,
) -> None:
    """Emulate a robot's board on a serial port: its firmware, with the twin as its physics."""
    with StopRequest() as stop, bad_input():
        resolved = resolve(terrain, None, None, seed, None, None)
        if math.isnan(real_time_factor):  # passes every range check
            fail("--real-time-factor: write a number")
        require_twin()
        from robot.emulate import emulate as run
        from sim.board_faults import Fault, FaultInvalid

        try:
            faults = [Fault.parse(text) for text in fault or ()]
        except FaultInvalid as error:
            fail(f"--fault: {error}")
        with failures():
            run(resolved.config, stop, typer.echo, faults, real_time_factor, link, log)
    raise typer.Exit(EXIT_INTERRUPTED)
