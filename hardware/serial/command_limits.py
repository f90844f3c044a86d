# SPDX-License-Identifier: MIT
"""Limits a command to what the board accepts; pure."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.robot import MotorCommand
from walkhome.hardware.serial.handshake import BoardIdentity
from walkhome.hardware.serial.wiring import Wiring

FloatArray = npt.NDArray[np.float64]

LEAST_VALID_S = 1e-3  # resolution of the wire


def within_limits(
    command: MotorCommand, board: BoardIdentity, wiring: Wiring, torque_share: float
) -> tuple[MotorCommand, FloatArray]:
    """Limit a command to the board's angles, gains, validity and torque.

    Args:
        command: command in the body's order and signs.
        board: limits of the board.
        wiring: order, signs and zeros of its motors.
        torque_share: share of the torque cap to allow, in [0, 1].

    Returns:
        The limited command, and its (8,) target angles as the board counts them, rad.

    Raises:
        ValueError: not (8,) finite targets and finite gains.
    """
    angle = np.asarray(command.angle_rad, dtype=np.float64)
    numbers = (command.kp, command.kd, command.valid_s, command.torque_cap_nm)
    if angle.shape != (N_MOTORS,):
        raise ValueError(f"motor command has shape {angle.shape}, not ({N_MOTORS},)")
    if not (np.isfinite(angle).all() and all(map(math.isfinite, numbers))):
        raise ValueError("motor command is not finite; it was not sent")
    limit = board.angle_limit_rad
    board_rad = np.clip(wiring.board_angle(angle), -limit, limit)
    sent = MotorCommand(
        wiring.body_angle(board_rad),
        kp=min(max(command.kp, 0.0), board.kp_limit),
        kd=min(max(command.kd, 0.0), board.kd_limit),
        valid_s=min(max(command.valid_s, LEAST_VALID_S), board.valid_limit_s),
        torque_cap_nm=min(max(command.torque_cap_nm, 0.0), board.torque_limit_nm) * torque_share,
    )
    return sent, board_rad
