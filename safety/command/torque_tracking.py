# SPDX-License-Identifier: MIT
"""Detects dead motors: compares the commanded torque with the measured one. Pure.

The motor of a jammed leg does not reach its target either, but it produces torque. A motor that is
commanded a large torque and produces almost none has a fault in its driver, winding, connector or
encoder. A walk commands large torques only briefly, so the monitor adds up these times: it counts
up while torque is missing and down while it is present.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import MotorCommand, RobotState
from walkhome.safety.command.limits import motor_torque_nm

FloatArray = npt.NDArray[np.float64]

ASKED_NM = 1.0  # below, friction, telemetry delay and battery sag hide the difference
GIVEN = 0.15  # least share of the commanded torque that a working motor produces
SLOW_RAD_S = 5.0  # above, the torque can change its sign between two readings
PATIENCE_S = 0.4  # time of missing torque, less the time of present torque, that is a fault
LATE_S = 0.05  # a state that is later than this does not reflect the last command


class TorqueTrackingMonitor:
    """Accumulates, per motor, the time in which the commanded torque is missing."""

    def __init__(self) -> None:
        self._command: MotorCommand | None = None
        self._time_s = 0.0
        self._idle_s: FloatArray | None = None

    def sent(self, command: MotorCommand) -> None:
        """Record the command that was sent, after all limits."""
        self._command = command

    def untracked(self, state: RobotState) -> int | None:
        """Index of the motor that does not produce the commanded torque; None if all do.

        Args:
            state: the first measurement after the last recorded command.
        """
        passed_s, self._time_s = state.time_s - self._time_s, state.time_s
        command = self._command
        if self._idle_s is None:
            self._idle_s = np.zeros(state.motor_angle_rad.shape)
        if command is None or not 0.0 < passed_s <= LATE_S:
            return None
        asked = motor_torque_nm(
            command.angle_rad,
            state.motor_angle_rad,
            state.motor_velocity_rad_s,
            command.kp,
            command.kd,
        )
        size = np.minimum(np.abs(asked), command.torque_cap_nm)
        judged = (size >= ASKED_NM) & (np.abs(state.motor_velocity_rad_s) <= SLOW_RAD_S)
        way = np.where(np.abs(state.motor_torque_nm) < GIVEN * size, passed_s, -passed_s)
        self._idle_s = np.maximum(0.0, self._idle_s + np.where(judged, way, 0.0))
        worst = int(self._idle_s.argmax())
        return worst if self._idle_s[worst] >= PATIENCE_S else None

    def reset(self) -> None:
        """Forget the last command and all accumulated times."""
        self._command, self._idle_s = None, None
