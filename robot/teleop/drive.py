# SPDX-License-Identifier: MIT
"""Puts a drive together: a run's policies, a twin, a source of orders, a screen, a camera."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pybullet

from hardware.robot import RobotError
from hardware.rotation import roll_pitch_yaw
from robot.clock import PacedClock
from robot.config import with_terrain
from robot.film import Film
from robot.learned import checked_policies
from robot.rig import Rig, make_twin
from robot.run import RunFolder
from robot.teleop.bindings import TeleopConfig
from robot.teleop.engine import Listeners, Moment, Phase, Tally, Teleop
from robot.teleop.orders import Source
from robot.teleop.screen import Screen
from robot.teleop.script import ScriptSource, parse_script, read_script
from sim.render import follow_in_window, paint_ground, tidy_window
from sim.twin import PyBulletRobot

SEED_OFFSET = 2_000_000  # neither the noise of learning nor that of evaluation
_FOLLOW_EVERY = 5  # control periods


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
    """

    by: str
    script: str = ""
    pad: str | None = None
    terrain: str | None = None
    seed: int | None = None
    gui: bool = False
    video: Path | None = None
    as_json: bool = False


def drive(
    run: Path, choice: Choice, settings: TeleopConfig, stop_requested: Callable[[], bool]
) -> Tally:
    """Drive a twin until the driver or a signal ends it.

    Raises:
        TeleopError: the orders can't come in: a bad script, no pad, no terminal.
        PolicyInvalid: the run has no policy that fits.
        VideoError: the film can't be written.
        RobotError: the twin failed, or its window was closed.
    """
    folder = RunFolder.open(run)
    policies = checked_policies(folder.path / "policy.safetensors", folder.config)
    config = folder.config
    if choice.terrain is not None:
        config = with_terrain(config, choice.terrain)
    with contextlib.ExitStack() as stack:
        source, name = _source(choice, settings, config.tasks)
        stack.callback(source.close)
        seed = SEED_OFFSET + (config.run.seed if choice.seed is None else choice.seed)
        rig = make_twin(config, seed, choice.gui)
        stack.callback(rig.robot.close)
        if choice.by != "script" or choice.gui:
            rig = replace(rig, clock=PacedClock(rig.clock))
        screen = Screen(name, choice.as_json)
        watchers: list[Callable[[Moment], None]] = [screen.period]
        if choice.gui:
            watchers.append(_Window(rig))
        film = None
        if choice.video is not None:
            film = _film(rig, choice.video, watchers)
            stack.callback(film.discard)

        def period(moment: Moment) -> None:
            for watcher in watchers:
                watcher(moment)

        listeners = Listeners(period, screen.event)
        if choice.by != "script":
            screen.say(_how_to(choice.by, settings, name()))
        try:
            tally = Teleop(
                config, rig, policies, source, settings.blend_s, listeners, stop_requested
            ).run()
        except pybullet.error as error:
            raise RobotError(f"the twin is gone ({error}): was its window closed?") from None
        if film is not None:
            film.close()
        return tally


def _source(
    choice: Choice, settings: TeleopConfig, tasks: Sequence[str]
) -> tuple[Source, Callable[[], str]]:
    """Who gives the orders, and what to call them on the screen."""
    if choice.by == "script":
        parts = parse_script(read_script(choice.script), tasks)
        return ScriptSource(parts, settings.scale.most), lambda: ""
    if choice.by == "gamepad":
        from robot.teleop.gamepad import GamepadSource

        pad = GamepadSource(settings, choice.pad)
        return pad, lambda: f"{pad.name}, battery {pad.battery()}"
    from robot.teleop.keyboard import KeyboardSource

    return KeyboardSource(settings), lambda: ""


def _how_to(by: str, settings: TeleopConfig, name: str) -> str:
    """What a driver has to know before the robot moves."""
    pad, keys = settings.gamepad, settings.keyboard
    if by == "gamepad":
        cut = " and ".join(pad.cut)
        return f"{name}: hold {pad.dead_man} to drive; {pad.settle} settles, {cut} cut; Ctrl-C ends"
    moves = " ".join(move[0] for move in (keys.forward, keys.backward, keys.left, keys.right))
    return (
        f"hold {moves} to drive, {keys.stand[0]} to stand; {keys.settle[0]} settles, "
        f"{keys.cut[0]} cuts, {keys.quit[0]} ends"
    )


class _Window:
    """Keeps PyBullet's window on the robot."""

    def __init__(self, rig: Rig) -> None:
        assert isinstance(rig.robot, PyBulletRobot)
        self._twin, self._periods = rig.robot, 0
        tidy_window(self._twin.client)
        paint_ground(self._twin.terrain, self._twin.client)

    def __call__(self, moment: Moment) -> None:
        if self._periods % _FOLLOW_EVERY == 0:
            follow_in_window(self._twin.client, self._twin.true_state().position_m)
        self._periods += 1


def _film(rig: Rig, path: Path, watchers: list[Callable[[Moment], None]]) -> Film:
    """A film of the drive, which hears of every period."""
    from robot.overlay import Caption

    def caption(moment: Moment) -> Caption:
        roll, pitch, _ = roll_pitch_yaw(moment.state.attitude_xyzw)
        drives = moment.phase is Phase.DRIVING
        return Caption(
            moment.doing if drives else moment.phase.value,
            (moment.order.note, f"falls {moment.tally.falls}"),
            roll,
            pitch,
            moment.action if drives else None,
            moment.filtered if drives else None,
        )

    film = Film(rig.robot, path, rig.clock.period_s)
    watchers.append(lambda moment: film.period(lambda: caption(moment)))
    return film
