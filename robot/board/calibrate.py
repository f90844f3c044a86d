# SPDX-License-Identifier: MIT
"""`robot calibrate`: measures the motor zeros of a robot in its jig. No torque.

mean board angles over a second --> zeros (hardware.serial.wiring) --> calibration file
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import RobotError, RobotState
from walkhome.hardware.serial.board import SerialRobot
from walkhome.hardware.serial.wiring import Wiring, jig_motor_rad, measured_zeros
from walkhome.robot.board.calibration import save_calibration
from walkhome.robot.board.session import open_board
from walkhome.robot.config.schema import Config

FloatArray = npt.NDArray[np.float64]

SECONDS = 1.0
MIN_FRAMES = 50
STILL_RAD = 0.03  # largest standard deviation of a motor that stands still


class CalibrationRefused(RobotError):  # noqa: N818 - says what happened
    """The measurement can't be used; no file was written."""


@dataclass(frozen=True)
class CalibrationResult:
    """A calibration that was written.

    Attributes:
        robot_id: id of the robot.
        path: its calibration file.
        zero_rad: (8,) the new zeros, rad; see `hardware.serial.wiring.Wiring`.
        change_rad: largest difference from the previous zeros; NaN if there were none.
    """

    robot_id: str
    path: Path
    zero_rad: tuple[float, ...]
    change_rad: float


def calibrate(config: Config, port: str) -> CalibrationResult:
    """Measure the zeros for `SECONDS`, and write the robot's calibration file.

    Args:
        config: body.
        port: serial port of the board; its robot is in the jig.

    Raises:
        CalibrationRefused: too little telemetry, or a leg moves.
        RobotError: port, board or lease can't be used.
        OSError: the file can't be written.
    """
    board = open_board(config, port, "robot calibrate")
    try:
        before = None if board.calibration is None else board.calibration.wiring()
        wiring = before or Wiring()
        zeros = measured_zeros(_mean_board_angles(board.robot, wiring), wiring)
        path = save_calibration(
            board.identity.robot_id, board.identity.zero_table, replace(wiring, zero_rad=zeros)
        )
        change_rad = math.nan
        if before is not None:
            change_rad = float(np.abs(np.subtract(zeros, before.zero_rad)).max())
        return CalibrationResult(board.identity.robot_id, path, zeros, change_rad)
    finally:
        board.robot.close()


def _mean_board_angles(robot: SerialRobot, wiring: Wiring) -> FloatArray:
    """(8,) mean angles as the board counts them, rad, over `SECONDS`."""
    angles: list[FloatArray] = []
    end_s = time.monotonic() + SECONDS

    def keep(state: RobotState) -> None:
        angles.append(state.motor_angle_rad)

    robot.listeners.append(keep)
    try:
        while time.monotonic() < end_s:
            robot.pump(end_s - time.monotonic())
    finally:
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
            f"({spread.max():.3f} rad); fix the legs in the jig, then repeat robot calibrate"
        )
    return wiring.board_angle(np.array(angles).mean(axis=0))


def jig_instructions() -> str:
    """Return what a person has to do before the measurement."""
    angle = math.degrees(float(jig_motor_rad()[0]))
    return (
        "Put the robot in its jig: every leg straight down, both cranks level "
        f"({angle:.0f} degrees from folded). The motors stay off."
    )
