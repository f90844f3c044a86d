# SPDX-License-Identifier: MIT
"""Assembles a drive: a run's policies, the twin or a robot, an input source and a screen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from walkhome.robot.board.session import board_in_use, config_on_port
from walkhome.robot.config.resolve import with_terrain
from walkhome.robot.config.schema import Config
from walkhome.robot.control.plant import Plant
from walkhome.robot.storage.policies import checked_policies
from walkhome.robot.storage.run_folder import RunFolder
from walkhome.robot.teleop.bindings import TeleopConfig
from walkhome.robot.teleop.controller import Teleop
from walkhome.robot.teleop.driver_input import InputSource
from walkhome.robot.teleop.screen import Screen, SourceInfo
from walkhome.robot.teleop.script import ScriptSource, parse_script, read_script
from walkhome.robot.teleop.telemetry import DrivePeriod, DriveStatistics, Listeners

SEED_OFFSET = 10**15  # so that the noise differs from that of learning and of evaluation


@dataclass(frozen=True)
class DriveOptions:
    """Options of `robot teleop`.

    Attributes:
        by: `script`, `keyboard` or `gamepad`.
        script: a script, or the name of a file that holds one.
        pad: part of the gamepad's name, or its number; None: the only one.
        terrain: terrain of the twin; None: the one that the run learned on.
        seed: seed of the twin's noise; None: the run's.
        gui: whether to open PyBullet's window.
        video: path of the film; None: no film.
        as_json: whether to write events as JSON objects.
        port: serial port of the board whose robot is driven; None: the twin.
        overrides: settings "board.key=value", for a board only.
    """

    by: str
    script: str = ""
    pad: str | None = None
    terrain: str | None = None
    seed: int | None = None
    gui: bool = False
    video: Path | None = None
    as_json: bool = False
    port: str | None = None
    overrides: Sequence[str] = ()


def drive(
    run: Path, options: DriveOptions, settings: TeleopConfig, stop_requested: Callable[[], bool]
) -> DriveStatistics:
    """Drive the twin, or a board's robot, until the driver or a signal ends it.

    Args:
        run: folder of the run whose policies drive.
        options: what the command line asked for.
        settings: bindings and blending.
        stop_requested: asked every period; True ends the drive.

    Returns:
        The counts of the drive.

    Raises:
        RunError: there is no run in the folder.
        TeleopError: the script is invalid, or there is no pad or terminal.
        PolicyInvalid: the run has no policies that fit its configuration.
        VideoError: the film can't be written.
        ConfigError: the terrain or an override is invalid.
        TerrainError: PyBullet can't build the terrain.
        RobotError: the twin failed, its window was closed, or the board's robot can't be armed.
        KeyboardInterrupt: a second signal arrived; the torque was cut.
    """
    folder = RunFolder.open(run)
    policies = checked_policies(folder.path / "policy.safetensors", folder.config)
    with contextlib.ExitStack() as stack:
        source, info = _source(options, settings, folder.config.tasks)
        stack.callback(source.close)
        screen = Screen(info, options.as_json)
        stack.callback(screen.close)
        config, plant, listeners = _plant(folder, options, screen, stack)

        def on_period(period: DrivePeriod) -> None:
            screen.period(period)
            for listener in listeners:
                listener(period)

        if options.by != "script":
            screen.say(_instructions(options.by, settings, info()))
        return Teleop(
            config,
            plant,
            policies,
            source,
            settings.blend_s,
            Listeners(on_period, screen.event),
            stop_requested,
        ).run()


def _plant(
    folder: RunFolder, options: DriveOptions, screen: Screen, stack: contextlib.ExitStack
) -> tuple[Config, Plant, Sequence[Callable[[DrivePeriod], None]]]:
    """Open what is driven; return its configuration, the plant, and listeners of its periods."""
    config = folder.config
    if options.port is not None:
        config = config_on_port(folder.path, options.port, options.overrides)
        plant = stack.enter_context(
            board_in_use(
                config,
                options.port,
                "robot teleop",
                lambda text: screen.event("board", {"text": text}),
            )
        )
        return config, plant, ()
    if options.terrain is not None:
        config = with_terrain(config, options.terrain)
    # Imported here: PyBullet is an extra that a robot's own computer need not have.
    from walkhome.robot.teleop.twin import open_twin

    seed = SEED_OFFSET + (config.run.seed if options.seed is None else options.seed)
    paced = options.by != "script" or options.gui
    twin = open_twin(config, seed, paced, options.gui, options.video)
    return config, *stack.enter_context(twin)


def _source(
    options: DriveOptions, settings: TeleopConfig, tasks: Sequence[str]
) -> tuple[InputSource, Callable[[], SourceInfo]]:
    """Open the input source; return it with the function that describes it on the screen."""
    if options.by == "script":
        steps = parse_script(read_script(options.script), tasks)
        return ScriptSource(steps, settings.scale.most), SourceInfo
    if options.by == "gamepad":
        from walkhome.robot.teleop.gamepad import GamepadSource

        pad = GamepadSource(settings, options.pad)
        return pad, lambda: SourceInfo(pad.name, pad.battery())
    from walkhome.robot.teleop.keyboard import KeyboardSource

    return KeyboardSource(settings), SourceInfo


def _instructions(by: str, settings: TeleopConfig, source: SourceInfo) -> str:
    """Which keys or buttons do what, in one line for the driver."""
    pad, keys = settings.gamepad, settings.keyboard
    if by == "gamepad":
        cut = " and ".join(pad.cut)
        return (
            f"{source.name}, battery {source.battery}: hold {pad.dead_man} to drive; "
            f"{pad.settle} settles, {cut} cut; Ctrl-C ends"
        )
    moves = " ".join(move[0] for move in (keys.forward, keys.backward, keys.left, keys.right))
    return (
        f"hold {moves} to drive, {keys.stand[0]} to stand; {keys.settle[0]} settles, "
        f"{keys.cut[0]} cuts, {keys.quit[0]} ends"
    )
