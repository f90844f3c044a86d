# SPDX-License-Identifier: MIT
"""The path to the motors: action -> low-pass filter -> leg space -> limits -> robot.

`ActionPath` turns a policy's action into a `Target`; `Actuator` is the only code that sends one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body
from walkhome.hardware.robot import MotorCommand, Robot, RobotState
from walkhome.robot.config.sections import ControlConfig
from walkhome.robot.control.command_monitor import CommandMonitor
from walkhome.robot.control.target import Target
from walkhome.robot.mdp.observation import N_ACTIONS
from walkhome.safety.command.action_filter import ActionFilter
from walkhome.safety.command.derating import TorqueDerating
from walkhome.safety.command.limits import CommandLimiter, UnsafeCommand, limit_torque

FloatArray = npt.NDArray[np.float64]


class ActionPath:
    """Turns actions into motor targets: Butterworth low-pass, then leg space to motor angles.

    Args:
        body: leg geometry, stance, action ranges and gains.
        control: filter and control rate.
    """

    def __init__(self, body: Body, control: ControlConfig) -> None:
        self._body = body
        low_pass = control.action_filter
        self._filter = ActionFilter(N_ACTIONS, low_pass.order, low_pass.cutoff_hz, control.rate_hz)

    def reset(self, state: RobotState) -> FloatArray:
        """Set the filter's state to the measured posture, and return that as a (8,) action."""
        posture = np.clip(self._body.motor_to_action(state.motor_angle_rad), -1.0, 1.0)
        self._filter.reset(posture)
        return posture

    def target(self, action: FloatArray) -> Target:
        """The motor target for an action (8,) in [-1, 1]; advances the filter by one period.

        Raises:
            UnsafeCommand: the action is not finite.
        """
        try:
            filtered = self._filter(action)
        except ValueError as error:
            raise UnsafeCommand(f"{error}; nothing was sent") from None
        body = self._body
        return Target(
            body.action_to_motor(filtered), body.kp, body.kd, action=action, filtered=filtered
        )


class Actuator:
    """Sends targets to a robot through the command limits.

    Args:
        robot: receives the commands.
        period_s: control period, for the limit on the rate of change.
        valid_s: how long the robot holds a command before it stops by itself.
        monitor: checks before each command that the robot may be driven on; None: no check.
        derating: lowers the torque limit of motors that were loaded too long; None: never. A
            twin's motors recover by themselves, a board's would trip.
    """

    def __init__(
        self,
        robot: Robot,
        period_s: float,
        valid_s: float,
        monitor: CommandMonitor | None = None,
        derating: TorqueDerating | None = None,
    ) -> None:
        self._robot, self._body = robot, robot.body
        self._valid_s = valid_s
        self._monitor, self._derating = monitor, derating
        self._limiter = CommandLimiter(robot.body, period_s)

    def reset(self, state: RobotState) -> None:
        """Start the limit on the rate of change at the measured posture."""
        self._limiter.reset(state.motor_angle_rad)

    def send(self, target: Target, state: RobotState) -> FloatArray:
        """Limit a target and send it.

        Args:
            target: what to send.
            state: the newest measurement, for the torque estimate.

        Returns:
            (8,) rad, the motor angles that were really sent.

        Raises:
            UnsafeCommand: the target is not finite; nothing was sent.
            NotFit: the monitor refuses to drive on; nothing was sent.
            LinkLost: the board is gone.
            RobotStopped: the board does not take commands.
        """
        caps_nm = self._caps_nm(state)
        if target.scripted:
            angle_rad = self._limit_script(target, state, caps_nm)
        else:
            angle_rad, _ = self._limiter.limit(
                target.angle_rad, state, target.kp, target.kd, caps_nm
            )
        command = MotorCommand(angle_rad, kp=target.kp, kd=target.kd, valid_s=self._valid_s)
        if self._monitor is not None:
            self._monitor.check(state)
        sent = self._robot.command(command)
        if self._monitor is not None:
            self._monitor.sent(sent)
        return sent.angle_rad

    def _limit_script(
        self, target: Target, state: RobotState, caps_nm: FloatArray | None
    ) -> FloatArray:
        """(8,) rad, the script's target with less torque for motors that are derated."""
        if not np.isfinite(target.angle_rad).all():
            raise UnsafeCommand(f"the script's target is not finite: {target.angle_rad}")
        if caps_nm is None:
            return target.angle_rad
        angle, velocity = state.motor_angle_rad, state.motor_velocity_rad_s
        weaker = limit_torque(target.angle_rad, angle, velocity, target.kp, target.kd, caps_nm)
        derated = caps_nm < self._body.torque_limit_nm
        return np.where(derated, weaker, target.angle_rad)

    def _caps_nm(self, state: RobotState) -> FloatArray | None:
        """(8,) N m, the torque limits now; None without derating."""
        if self._derating is None:
            return None
        return self._derating.caps(state.motor_torque_nm, state.time_s)
