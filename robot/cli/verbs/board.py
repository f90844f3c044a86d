# SPDX-License-Identifier: MIT
"""`robot emulate`: an emulated board on a pseudo serial port."""

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
        float, typer.Option(min=0.01, max=100.0, help="Speed of the simulation; 1 is real time.")
    ] = 1.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND@START:SECONDS",
            help="Fault to inject: mute, freeze, garble, delay, unplug, ... Repeatable.",
        ),
    ] = None,
    link: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Keep a symbolic link to the serial port here."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write events to this file, one JSON object per line."),
    ] = None,
    pose: Annotated[
        str, typer.Option(metavar="PATH|auto|off", help="Unix socket to send poses to.")
    ] = "auto",
    pose_noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Standard deviation of the pose noise, m.")
    ] = 0.002,
    pose_delay: Annotated[
        float, typer.Option(min=0.0, max=10.0, help="Delay of the poses, s.")
    ] = 0.01,
    pose_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of poses that are lost, 0 to 1.")
    ] = 0.0,
    start: Annotated[
        str, typer.Option(metavar="belly|side|back|jig", help="How the robot lies at the start.")
    ] = ("belly"),
    robot_id: Annotated[
        str, typer.Option(metavar="NAME", help="Id that the robot reports.")
    ] = "emulated",
    zero_table: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Id of the board's zero table.")
    ] = 1,
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Shift the encoder zeros, as after a repair.")
    ] = False,
    battery: Annotated[float, typer.Option(min=0.0, max=60.0, help="Battery voltage, V.")] = 16.0,
) -> None:
    """Emulate a robot's board on a serial port.

    The board's firmware runs with the twin as the robot. To unplug the cable for a second, send
    SIGUSR1 to the process (kill -USR1 PID).
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
            fail("--robot-id: write 1 to 15 printable ASCII characters")
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
