# SPDX-License-Identifier: MIT
"""Puts a drive together: a run's policies, a robot, a source of orders, a screen."""

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

SEED_OFFSET = 10**15  # neither the noise of learning nor that of evaluation


@dataclass(frozen=True)
class Choice:
    """What the command line asked for.

    Attributes:
        by: `script`, `keyboard` or `gamepad`.
        script: text, or a file's name.
        pad: which gamepad.
        terrain: another than the one learned on.
        seed: of the twin's noise.
        gui: open PyBullet's window.
        video: film it here.
        as_json: events as JSON.
        port: of a board, to drive its robot; the twin when None.
        overrides: "board.key=value", for a board.
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
    run: Path, choice: Choice, settings: TeleopConfig, stop_requested: Callable[[], bool]
) -> DriveStatistics:
    """Drive the twin, or a board's robot, until the driver or a signal ends it.

    Raises:
        TeleopError: the orders can't come in: a bad script, no pad, no terminal.
        PolicyInvalid: the run has no policy that fits.
        VideoError: the film can't be written.
        ConfigError: terrain or overrides can't be used.
        RobotError: the twin failed, or its window was closed; the board's robot can't be armed.
    """
    folder = RunFolder.open(run)
    policies = checked_policies(folder.path / "policy.safetensors", folder.config)
    with contextlib.ExitStack() as stack:
        source, facts = _source(choice, settings, folder.config.tasks)
        stack.callback(source.close)
        screen = Screen(facts, choice.as_json)
        stack.callback(screen.close)
        config, plant, watchers = _robot(folder, choice, screen, stack)

        def period(moment: DrivePeriod) -> None:
            screen.period(moment)
            for watcher in watchers:
                watcher(moment)

        listeners = Listeners(period, screen.event)
        if choice.by != "script":
            screen.say(_how_to(choice.by, settings, facts()))
        return Teleop(
            config, plant, policies, source, settings.blend_s, listeners, stop_requested
        ).run()


def _robot(
    folder: RunFolder, choice: Choice, screen: Screen, stack: contextlib.ExitStack
) -> tuple[Config, Plant, Sequence[Callable[[DrivePeriod], None]]]:
    """What is driven, its configuration, and who wants to be told every period."""
    config = folder.config
    if choice.port is not None:
        config = config_on_port(folder.path, choice.port, choice.overrides)
        plant = stack.enter_context(
            board_in_use(
                config,
                choice.port,
                "robot teleop",
                lambda text: screen.event("board", {"text": text}),
            )
        )
        return config, plant, ()
    if choice.terrain is not None:
        config = with_terrain(config, choice.terrain)
    # PyBullet is an extra, and a robot's own computer does without.
    from walkhome.robot.teleop.twin import twin_stage

    seed = SEED_OFFSET + (config.run.seed if choice.seed is None else choice.seed)
    paced = choice.by != "script" or choice.gui
    stage = twin_stage(config, seed, paced, choice.gui, choice.video)
    return config, *stack.enter_context(stage)


def _source(
    choice: Choice, settings: TeleopConfig, tasks: Sequence[str]
) -> tuple[InputSource, Callable[[], SourceInfo]]:
    """Who gives the orders, and what to say of them on the screen."""
    if choice.by == "script":
        parts = parse_script(read_script(choice.script), tasks)
        return ScriptSource(parts, settings.scale.most), SourceInfo
    if choice.by == "gamepad":
        from walkhome.robot.teleop.gamepad import GamepadSource

        pad = GamepadSource(settings, choice.pad)
        return pad, lambda: SourceInfo(pad.name, pad.battery())
    from walkhome.robot.teleop.keyboard import KeyboardSource

    return KeyboardSource(settings), SourceInfo


def _how_to(by: str, settings: TeleopConfig, source: SourceInfo) -> str:
    """What a driver has to know before the robot moves."""
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
