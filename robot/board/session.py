# SPDX-License-Identifier: MIT
"""Opens a board: port, handshake, lease, calibration, pose source, arming, supervisor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from walkhome.hardware.realtime import CONTROL_PRIORITY, on_time
from walkhome.hardware.robot import Stop
from walkhome.hardware.serial.board import BoardTiming, SerialRobot
from walkhome.hardware.serial.handshake import BoardIdentity
from walkhome.robot.board.arming import Arming
from walkhome.robot.board.calibration import Calibration, calibration_path, load_calibration
from walkhome.robot.board.plant import BoardPlant
from walkhome.robot.board.pose_sources import make_pose
from walkhome.robot.config.resolve import ConfigError, parse_override, resolve_config
from walkhome.robot.config.schema import Config
from walkhome.robot.control.clock import WallClock
from walkhome.robot.control.side_thread import CLOSE_S, SideThread
from walkhome.safety.lease import Lease, runtime_folder
from walkhome.safety.supervisor.client import silence_limit_s
from walkhome.safety.supervisor.manager import SupervisorManager


@dataclass(frozen=True)
class OpenBoard:
    """A board that has shaken hands, and whose robot nobody else commands."""

    robot: SerialRobot
    identity: BoardIdentity
    calibration: Calibration | None


def open_board(config: Config, port: str, who: str) -> OpenBoard:
    """Open a port, shake hands, take the lease, use the robot's calibration. No torque.

    Args:
        config: body and patience.
        port: of the board.
        who: what this process does, for whoever finds the lease taken.

    Raises:
        RobotError: port, board, lease or calibration file can't be used; says what to do.
    """
    timing = BoardTiming(config.board.silence_s, config.board.ease_in_s)
    robot = SerialRobot(port, config.robot.to_body(), timing=timing)
    identity = robot.open()
    try:
        robot.at_close(Lease.take(identity.robot_id, who).release)
        calibration = load_calibration(identity.robot_id)
        if calibration is not None:
            robot.rewire(calibration.wiring())
    except BaseException:
        robot.close()
        raise
    return OpenBoard(robot, identity, calibration)


def memory_of(robot_id: str) -> Path:
    """Where it is remembered which start of a robot's board was armed last; see `Arming`."""
    return runtime_folder() / f"armed-{calibration_path(robot_id).stem}"


def make_board(
    config: Config,
    port: str,
    pose: str | None = None,
    who: str = "robot learn",
    say: Callable[[str], None] = lambda text: None,
    fenced: bool = True,
) -> BoardPlant:
    """The robot on a port, looked at and found fit; armed only when the loop asks for it.

    Args:
        config: body, rate, limits.
        port: of the board.
        pose: see `robot.board.pose_sources`; the configuration's when None.
        who: what this process does.
        say: told what a person should know.
        fenced: whether a pose is needed; else no source is asked for one.

    Raises:
        RobotError: it can't be used now: port, board, calibration, pose source, or a check before
            arming; the message has all reasons.
    """
    board = open_board(config, port, who)
    try:
        # The robot's own socket can always be had, also with nobody who sends to it.
        guard = make_pose((pose or config.board.pose) if fenced else "auto", board.robot)
        clock = WallClock(
            config.control.rate_hz, meanwhile=board.robot.repeat, heard=board.robot.heard
        )
        table = None if board.calibration is None else board.calibration.zero_table
        memory = memory_of(board.identity.robot_id)
        arming = Arming(board.robot, guard, config, table, clock, say, fenced=fenced, memory=memory)
        arming.first_look()
        # Only now: with an emergency stop latched, a supervisor stops each port that it is given.
        manager = SupervisorManager(silence_limit_s(clock.period_s, config.board.command_gap_s))
        board.robot.at_close(manager.close)
        arming.guard(manager)
    except BaseException:
        board.robot.close()
        raise
    return BoardPlant(board.robot, guard, clock, config, arming)


@contextlib.contextmanager
def board_in_use(
    config: Config, port: str, who: str, say: Callable[[str], None]
) -> Iterator[BoardPlant]:
    """A robot on a port for somebody who stands beside it: on time, and settled at the end.

    Whatever ends it, the robot is let down and let go of; KeyboardInterrupt, which is somebody who
    insists, cuts its torque.

    Args:
        config: body, rate, limits.
        port: of the board.
        who: what this process does, for whoever finds the lease taken.
        say: told what a person should know.

    Raises:
        RobotError: see `make_board`.
    """
    with SideThread("view", CLOSE_S) as screen:

        def tell(text: str) -> None:  # a terminal may take its time
            screen.do(lambda: say(text))

        plant, how = make_board(config, port, who=who, say=tell, fenced=False), Stop.SETTLE
        try:
            with on_time(CONTROL_PRIORITY) as granted:
                for text in granted.refused:
                    tell(f"not quite on time: {text}")
                try:
                    yield plant
                except KeyboardInterrupt:
                    how = Stop.CUT
                    raise
                finally:  # before anything that takes its time, or the supervisor cuts
                    plant.robot.stop(how)
        finally:
            plant.robot.close()


def config_on_port(run: Path, port: str, overrides: Sequence[str]) -> Config:
    """What a run was learned with, for a robot on a port.

    Args:
        run: the run's folder.
        port: of the board.
        overrides: "board.key=value"; all else has to stay as it was learned.

    Raises:
        ConfigError: an override can't be used.
    """
    for override in overrides:
        key, _ = parse_override(override)
        if not key.startswith("board."):
            raise ConfigError(
                f"--set {override}: only keys of `board` go here; all else is as it was learned"
            )
    flags = {"board.port": port}
    return resolve_config(run / "config.yaml", flags=flags, overrides=overrides).config
