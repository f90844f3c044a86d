# SPDX-License-Identifier: MIT
"""`robot teleop`: drive what was learned, by script, keyboard or gamepad."""

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
        typer.Option(metavar="TEXT|FILE", help='"forward 3s, left 2s, stop 1s", or a file of it.'),
    ] = None,
    gamepad: Annotated[bool, typer.Option("--gamepad", help="Drive by gamepad.")] = False,
    pad: Annotated[
        str | None, typer.Option(metavar="NAME|N", help="Which gamepad, if there are several.")
    ] = None,
    port: PortOption = None,
    overrides: BoardSetOption = None,
    terrain: TerrainOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the twin's noise.")] = None,
    bindings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Over the shipped configs/teleop.yaml.")
    ] = None,
    gui: Annotated[bool, typer.Option("--gui", help="Show the twin in PyBullet's window.")] = False,
    video: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Film the drive into this .mp4.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Drive the learned gaits, in the twin or on a PORT: by keyboard, gamepad or script.

    Keyboard: hold w s a d (or the arrows) to move, h to stand; let go and the robot sits down.
    Space settles it, x cuts the torque, + and - change the stride, q ends. Gamepad: hold the right
    trigger; left stick up and down walks, right stick turns, B settles, both shoulder buttons cut.

    On a board the robot is checked and armed when you press, and again after every fault, once you
    have let go; after a cut, a person has to release the board's stop (robot doctor).
    """
    with StopSignal() as stop, bad_input(), _bad_orders():
        _refuse_two_inputs(script, gamepad or pad is not None, as_json)
        if port is not None:
            _refuse_for_a_board(terrain=terrain, seed=seed, gui=gui, video=video)
        elif overrides:
            fail("--set: the twin is as it was learned; it goes with --port")
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
            fail(f"--{name}: it is for the twin; leave it out with --port")


def _refuse_two_inputs(script: str | None, gamepad: bool, as_json: bool) -> None:
    if script is not None and gamepad:
        fail("--script and --gamepad: choose one driver")
    if as_json and script is None:
        fail("--json goes with --script; people get a screen")


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
                typer.echo("it does not go on by itself; help it", err=True)
            if port is not None and tally.cuts:
                print_release_hint(port)
    except OSError:
        # The terminal is what was lost. What waits for it must not spoil the exit code.
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
