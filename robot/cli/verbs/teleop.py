# SPDX-License-Identifier: MIT
"""`robot teleop`: drive the learned gaits by script, keyboard or gamepad."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from walkhome.robot.cli.common import (
    BoardSetOption,
    JsonOption,
    PortOption,
    RunArgument,
    TerrainOption,
)
from walkhome.robot.cli.errors import bad_input, board_refusals, fail, film_failures
from walkhome.robot.cli.output import exit_after_cut, print_release_hint
from walkhome.robot.cli.requirements import (
    check_video,
    require_display,
    require_twin,
    require_video,
)
from walkhome.robot.cli.stop_signal import StopSignal
from walkhome.robot.exit_codes import EXIT_INTERRUPTED, EXIT_SAFETY


def teleop(
    run: RunArgument,
    script: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT|FILE",
            help='Script such as "forward 3s, left 2s, stop 1s", or a file with one.',
        ),
    ] = None,
    gamepad: Annotated[bool, typer.Option("--gamepad", help="Drive by gamepad.")] = False,
    pad: Annotated[
        str | None,
        typer.Option(metavar="NAME|N", help="Name or number of the gamepad, if there are several."),
    ] = None,
    port: PortOption = None,
    overrides: BoardSetOption = None,
    terrain: TerrainOption = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Random seed of the twin's noise.")
    ] = None,
    bindings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="YAML file with key bindings that differ from configs/teleop.yaml."
        ),
    ] = None,
    gui: Annotated[bool, typer.Option("--gui", help="Show the twin in a PyBullet window.")] = False,
    video: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a film to this .mp4 file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Drive the learned gaits by keyboard, gamepad or script, in the twin or on a robot.

    Keyboard: hold w, s, a or d (or the arrow keys) to move, h to stand. The robot settles (its
    motors are damped, then switched off) when all keys are released, or with space. x cuts the
    torque, + and - change the stride, q quits.

    Gamepad: hold the right trigger all the time; the left stick walks, the right stick turns, B
    settles the robot, both shoulder buttons together cut the torque.

    A robot on a port is checked and armed when you first press a key, and again after each fault
    once you have released all keys. After a cut, release the board's stop with robot doctor.
    """
    with StopSignal() as stop, bad_input(), _bad_orders():
        _refuse_two_inputs(script, gamepad or pad is not None, as_json)
        if port is not None:
            _refuse_for_a_board(terrain=terrain, seed=seed, gui=gui, video=video)
        elif overrides:
            fail("--set: the twin uses the run's settings; --set is for --port only")
        check_video(video)
        if gui:
            require_display("leave --gui out, or film it with --video FILE.mp4")
        from walkhome.robot.storage.run_folder import RunFolder
        from walkhome.robot.teleop.bindings import read_bindings

        settings = read_bindings(bindings)
        RunFolder.open(run)
        if port is None:
            require_twin()
        if video is not None:
            require_video()
        from walkhome.learning.policy import PolicyInvalid
        from walkhome.robot.teleop.session import DriveOptions, drive

        by = "script" if script is not None else "gamepad" if gamepad or pad else "keyboard"
        options = DriveOptions(
            by, script or "", pad, terrain, seed, gui, video, as_json, port, overrides or ()
        )
        with board_refusals(), film_failures():
            try:
                tally = drive(run, options, settings, lambda: stop.requested)
            except PolicyInvalid as error:
                fail(str(error))
            except KeyboardInterrupt:
                exit_after_cut(port)
    raise typer.Exit(_tell(tally, stop.requested, as_json, port))


def _refuse_for_a_board(**options: object) -> None:
    for name, value in options.items():
        if value is not None and value is not False:
            fail(f"--{name} is for the twin; leave it out with --port")


def _refuse_two_inputs(script: str | None, gamepad: bool, as_json: bool) -> None:
    if script is not None and gamepad:
        fail("--script and --gamepad exclude each other")
    if as_json and script is None:
        fail("--json is for --script only; keyboard and gamepad have a screen")


def _tell(tally: Any, stopped: bool, as_json: bool, port: str | None) -> int:
    try:
        if as_json:
            typer.echo(json.dumps({"event": "end", **vars(tally)}))
        else:
            typer.echo(
                f"{tally.driven_s:.1f} s driven, {tally.switches} switches, {tally.falls} falls, "
                f"{tally.standing_up_s:.1f} s standing up"
            )
            for why in filter(None, (tally.lost, tally.ended_by)):
                typer.echo(f"{why}: the robot was settled", err=True)
            if tally.needs_help:
                typer.echo("the robot needs help from a person before it can go on", err=True)
            if port is not None and tally.cuts:
                print_release_hint(port)
    except OSError:
        # The terminal is lost. Output that is still buffered must not change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if stopped:
        return EXIT_INTERRUPTED
    return EXIT_SAFETY if tally.lost or tally.ended_by or tally.needs_help else 0


@contextlib.contextmanager
def _bad_orders() -> Iterator[None]:
    from walkhome.robot.teleop.driver_input import TeleopError

    try:
        yield
    except TeleopError as error:
        fail(str(error))
