# SPDX-License-Identifier: MIT
"""The verb that stands for a board: emulate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from walkhome.robot.cli.common import SeedOption, TerrainOption, resolve
from walkhome.robot.cli.errors import bad_input, fail, failures
from walkhome.robot.cli.requirements import require_twin
from walkhome.robot.cli.stop_signal import StopSignal
from walkhome.robot.exit_codes import EXIT_INTERRUPTED


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
    pose: Annotated[
        str, typer.Option(metavar="PATH|auto|off", help="Poses go to this socket.")
    ] = "auto",
    pose_noise: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of a pose, m.")] = 0.002,
    pose_delay: Annotated[float, typer.Option(min=0.0, max=10.0, help="Of a pose, s.")] = 0.01,
    pose_drop: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of poses lost.")] = 0.0,
    start: Annotated[str, typer.Option(metavar="belly|side|back|jig", help="How it lies.")] = (
        "belly"
    ),
    robot_id: Annotated[str, typer.Option(metavar="NAME", help="Who it says it is.")] = "emulated",
    zero_table: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Id of its board's zero table.")
    ] = 1,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Its encoders are off, as after a repair.")
    ] = False,
    battery: Annotated[float, typer.Option(min=0.0, max=60.0, help="Of its battery, V.")] = 16.0,
) -> None:
    """Emulate a robot's board on a serial port: its firmware, with the twin as its physics.

    kill -USR1 pulls its cable for a second.
    """
    with StopSignal() as stop, bad_input():
        resolved = resolve(terrain, None, None, seed, None, None)
        numbers = {
            "--real-time-factor": real_time_factor,
            "--pose-noise": pose_noise,
            "--pose-delay": pose_delay,
            "--pose-drop": pose_drop,
            "--battery": battery,
        }
        for name, number in numbers.items():
            if math.isnan(number):  # passes every range check
                fail(f"{name}: write a number")
        if not (1 <= len(robot_id) <= 15 and robot_id.isascii() and robot_id.isprintable()):
            fail("--robot-id: 1 to 15 plain letters")
        require_twin()
        from walkhome.robot.board.emulate import STARTS, Emulation
        from walkhome.robot.board.emulate import emulate as run
        from walkhome.robot.board.pose_sources import pose_socket
        from walkhome.sim.emulator.faults import FaultInvalid, InjectedFault
        from walkhome.sim.emulator.pose import PoseSettings

        if start not in STARTS:
            fail(f"--start: {start!r} is not known; use one of {', '.join(STARTS)}")
        try:
            faults = [InjectedFault.parse(text) for text in fault or ()]
        except FaultInvalid as error:
            fail(f"--fault: {error}")
        with failures():
            poses = {"auto": pose_socket(robot_id), "off": None}.get(pose, Path(pose))
            what = Emulation(
                faults=faults,
                real_time_factor=real_time_factor,
                link=link,
                log=log,
                poses=poses,
                pose_settings=PoseSettings(noise_m=pose_noise, delay_s=pose_delay, drop=pose_drop),
                start=start,
                robot_id=robot_id,
                zero_table=zero_table,
                uncalibrated=uncalibrated,
                battery_v=battery,
            )
            run(resolved.config, stop, typer.echo, what)
    raise typer.Exit(EXIT_INTERRUPTED)
