# SPDX-License-Identifier: MIT
"""`robot calibrate`: the zeros of a robot in its jig, to its calibration file. No torque."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from walkhome.hardware.robot import RobotError
from walkhome.hardware.serial.board import SerialRobot
from walkhome.hardware.serial.wiring import Wiring, jig_motor_rad, measured_zeros
from walkhome.robot.board.calibration import save_calibration
from walkhome.robot.board.session import open_board
from walkhome.robot.config.schema import Config

SECONDS = 1.0
MIN_FRAMES = 50
STILL_RAD = 0.03


class CalibrationRefused(RobotError):  # noqa: N818 - says what happened
    """The robot can't be calibrated like this; nothing was written."""


@dataclass(frozen=True)
class Calibrated:
    """What came of it.

    Attributes:
        robot_id: whose.
        path: the file.
        zero_rad: (8,) the new zeros.
        change_rad: largest change to the zeros before; NaN if there were none.
    """

    robot_id: str
    path: Path
    zero_rad: tuple[float, ...]
    change_rad: float


def calibrate(config: Config, port: str) -> Calibrated:
    """Measure for a second, and write.

    Args:
        config: body.
        port: of the board; its robot is in the jig.

    Raises:
        RobotError: port, board or lease can't be used, or the legs don't stand still.
        OSError: the file can't be written.
    """
    board = open_board(config, port, "robot calibrate")
    try:
        before = None if board.calibration is None else board.calibration.wiring()
        wiring = before or Wiring()
        shown = _shown(board.robot, wiring)
        zeros = measured_zeros(shown, wiring)
        path = save_calibration(
            board.identity.robot_id, board.identity.zero_table, replace(wiring, zero_rad=zeros)
        )
        change_rad = math.nan
        if before is not None:
            change_rad = float(np.abs(np.subtract(zeros, before.zero_rad)).max())
        return Calibrated(board.identity.robot_id, path, zeros, change_rad)
    finally:
        board.robot.close()


def _shown(robot: SerialRobot, wiring: Wiring) -> np.typing.NDArray[np.float64]:
    """(8,) what the board shows, rad; the mean of a second."""
    angles: list[np.typing.NDArray[np.float64]] = []
    end_s = time.monotonic() + SECONDS

    def keep(state: object) -> None:
        angles.append(state.motor_angle_rad)  # type: ignore[attr-defined]

    robot.listeners.append(keep)
    while time.monotonic() < end_s:
        robot.pump(end_s - time.monotonic())
    robot.listeners.remove(keep)
    if len(angles) < MIN_FRAMES:
        raise CalibrationRefused(
            f"{robot.port}: only {len(angles)} telemetry frames in {SECONDS:g} s; check the cable "
            "(robot doctor)"
        )
    spread = np.array(angles).std(axis=0)
    if not spread.max() <= STILL_RAD:
        raise CalibrationRefused(
            f"{robot.port}: motor {int(spread.argmax())} does not stand still "
            f"({spread.max():.3f} rad); hold the legs in the jig, then again"
        )
    return wiring.board_angle(np.array(angles).mean(axis=0))


def jig_in_words() -> str:
    """What a person has to do first."""
    angle = math.degrees(float(jig_motor_rad()[0]))
    return (
        "Put the robot in its jig: every leg straight down, both cranks level "
        f"({angle:.0f} degrees from folded). The motors stay off."
    )
