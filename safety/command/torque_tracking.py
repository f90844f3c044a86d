# SPDX-License-Identifier: MIT
"""Whether the motors do what they are told: the torque a command asks for, and what comes. Pure.

A leg that is jammed does not follow either, but its motors strain. One that should strain and gives
nothing is dead: its driver, a phase, a connector, or an encoder that tells nonsense. A walk asks
for much torque only now and then: what counts is the time in which it is asked for, put together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import MotorCommand, RobotState
from walkhome.safety.command.limits import motor_torque_nm

FloatArray = npt.NDArray[np.float64]

ASKED_NM = 1.0  # less is not told from friction, late telemetry and a battery that sags
GIVEN = 0.15  # share of it that a motor gives at least
SLOW_RAD_S = 5.0  # of a faster motor the torque turns round between two readings
PATIENCE_S = 0.4  # of disobedience, obedience taken off
LATE_S = 0.05  # a state that comes later says nothing of the last command


class TorqueTrackingMonitor:
    """Follows the torque of all motors."""

    def __init__(self) -> None:
        self._command: MotorCommand | None = None
        self._time_s = 0.0
        self._idle_s: FloatArray | None = None

    def sent(self, command: MotorCommand) -> None:
        """What really went out, after the limits."""
        self._command = command

    def untracked(self, state: RobotState) -> int | None:
        """The motor that does not do what the last command asked for; None if all do.

        Args:
            state: the newest measurement, after that command.
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
        """Begin anew: nothing is commanded."""
        self._command, self._idle_s = None, None
