# SPDX-License-Identifier: MIT
"""Opens a board for use: port, handshake, lease, calibration, pose source, examination, supervisor.

`open_board` does the first four, for the tools that give no torque; `open_plant` does all and
returns the `BoardPlant`, not armed yet; `board_in_use` also settles and closes it at the end.
"""

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
    """A board after the handshake, whose robot this process alone may command.

    Attributes:
        robot: the robot behind the open port.
        identity: what the board said in the handshake.
        calibration: the robot's calibration file; None if there is none.
    """

    robot: SerialRobot
    identity: BoardIdentity
    calibration: Calibration | None


def open_board(config: Config, port: str, who: str) -> OpenBoard:
    """Open a port, shake hands, take the lease and apply the robot's calibration. No torque.

    Args:
        config: body, and how long the board may be silent.
        port: serial port of the board.
        who: the command that this process runs; shown to others that find the lease taken.

    Raises:
        RobotError: port, board, lease or calibration file can't be used; the message says what to
            do.
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


def arming_memory(robot_id: str) -> Path:
    """Path of the file that remembers a robot's last arming; see `Arming`."""
    return runtime_folder() / f"armed-{calibration_path(robot_id).stem}"


def open_plant(
    config: Config,
    port: str,
    pose: str | None = None,
    who: str = "robot learn",
    say: Callable[[str], None] = lambda text: None,
    fenced: bool = True,
) -> BoardPlant:
    """Open the robot on a port and check that it may be armed; `make_ready` arms it later.

    Args:
        config: body, rate and limits.
        port: serial port of the board.
        pose: name of a pose source (`robot.board.pose_sources`); None: the configuration's.
        who: the command that this process runs; see `open_board`.
        say: called with messages for people.
        fenced: whether a valid pose is required; if not, `pose` is ignored.

    Raises:
        RobotError: port, board, calibration, lease or pose source can't be used, or the robot must
            not be armed now; the message has all reasons.
    """
    board = open_board(config, port, who)
    try:
        # The socket of `auto` can always be opened, also if no program sends poses to it.
        guard = make_pose((pose or config.board.pose) if fenced else "auto", board.robot)
        clock = WallClock(
            config.control.rate_hz, meanwhile=board.robot.repeat, heard=board.robot.heard
        )
        table = None if board.calibration is None else board.calibration.zero_table
        memory = arming_memory(board.identity.robot_id)
        arming = Arming(board.robot, guard, config, table, clock, say, fenced=fenced, memory=memory)
        arming.check_ready()
        # Last: while an emergency stop is latched, a supervisor stops every port that it is given.
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
    """Open a robot for one command at real-time priority, without a pose source.

    At the end of the `with` block, also by an error, the robot is settled and closed.
    KeyboardInterrupt, the second signal, cuts its torque instead.

    Args:
        config: body, rate and limits.
        port: serial port of the board.
        who: the command that this process runs; see `open_board`.
        say: called with messages for people, in a thread of its own.

    Raises:
        RobotError: see `open_plant`.
    """
    with SideThread("view", CLOSE_S) as screen:

        def say_aside(text: str) -> None:  # a terminal may block
            screen.do(lambda: say(text))

        plant, how = open_plant(config, port, who=who, say=say_aside, fenced=False), Stop.SETTLE
        try:
            with on_time(CONTROL_PRIORITY) as granted:
                for text in granted.refused:
                    say_aside(f"not quite on time: {text}")
                try:
                    yield plant
                except KeyboardInterrupt:
                    how = Stop.CUT
                    raise
                finally:  # first of all, or the supervisor cuts the torque
                    plant.robot.stop(how)
        finally:
            plant.robot.close()


def config_on_port(run: Path, port: str, overrides: Sequence[str]) -> Config:
    """Resolve a run's configuration for a robot on a port.

    Args:
        run: the run's folder.
        port: serial port of the board.
        overrides: settings "board.key=value"; other keys must stay as in the run.

    Raises:
        ConfigError: the run's configuration or an override is invalid.
    """
    for override in overrides:
        key, _ = parse_override(override)
        if not key.startswith("board."):
            raise ConfigError(
                f"--set {override}: only keys of `board` go here; all else is as it was learned"
            )
    flags = {"board.port": port}
    return resolve_config(run / "config.yaml", flags=flags, overrides=overrides).config
