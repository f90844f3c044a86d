# SPDX-License-Identifier: MIT
"""The twin's motor controllers: what a board computes from a command to eight torques.

They hold a command while it is valid, then damp, then switch the motors off. They switch off
motors that would overheat, and model their temperatures. Values per motor have the URDF's signs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from walkhome.hardware.body import Body
from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.robot import MotorCommand, Stop
from walkhome.sim.history import Joints, turned
from walkhome.sim.motor import MotorModel, OverheatGuard, ThermalModel

SETTLE_S = 0.5  # damped sit before the motors go limp
SETTLE_KD = 0.02
LIMP = (0.0,) * N_MOTORS


class Motors:
    """Eight motors and their controllers.

    Args:
        model: electrical model of a motor.
        body: gives the limits for overheating.
        dt_s: physics step.

    Attributes:
        torque_nm: 8 shaft torques of the last physics step.
        current_a: 8 magnitudes of the currents of the last physics step.
    """

    def __init__(self, model: MotorModel, body: Body, dt_s: float) -> None:
        self._motor, self._dt_s = model, dt_s
        self._guard = OverheatGuard(
            N_MOTORS, torque_nm=body.overheat_torque_nm, time_s=body.overheat_s
        )
        self._heat = ThermalModel(N_MOTORS)
        self.torque_nm: Sequence[float] = LIMP
        self.current_a: Sequence[float] = LIMP
        self._currents_a: list[Sequence[float]] = []  # since `warm_up`
        self._command: MotorCommand | None = None
        self._target_rad: Sequence[float] = LIMP
        self._command_until_s = 0.0
        self._stopping_until_s: float | None = None

    @property
    def temperature_c(self) -> Sequence[float]:
        """Winding temperature of each motor, degrees C."""
        return self._heat.core_c

    @property
    def any_off(self) -> bool:
        """Whether a motor is switched off because it would overheat."""
        return self._guard.any_off

    def command(self, command: MotorCommand, now_s: float) -> None:
        """Take new targets at simulated time `now_s`; angles in the body's signs.

        Raises:
            ValueError: a target or gain is not finite, or there are not 8 targets.
        """
        if command.angle_rad.shape != (N_MOTORS,):
            raise ValueError(
                f"motor command has shape {command.angle_rad.shape}, not ({N_MOTORS},)"
            )
        # As floats: for so few numbers the calls of NumPy cost more than the arithmetic.
        if not all(map(math.isfinite, (*command.angle_rad.tolist(), command.kp, command.kd))):
            raise ValueError("motor command is not finite; the twin, like a board, refuses it")
        self._hold(command)
        self._command_until_s = now_s + command.valid_s
        self._stopping_until_s = None

    def stop(self, how: Stop, now_s: float) -> None:
        """SETTLE damps for half a second, then goes limp; CUT goes limp at once."""
        self._command = None
        self._stopping_until_s = now_s + (SETTLE_S if how is Stop.SETTLE else 0.0)

    def let_go(self) -> None:
        """Drop the command; limp until the next one."""
        self._hold(None)
        self.torque_nm = LIMP
        self._stopping_until_s = None

    def step(self, felt: Joints, now: Joints, now_s: float) -> Sequence[float]:
        """Advance the controllers by one physics step; updates `torque_nm` and `current_a`.

        Args:
            felt: joint angles and speeds as the controllers measure them, delayed.
            now: true joint angles and speeds.
            now_s: simulated time.

        Returns:
            8 torques as a board reports them, N m.
        """
        if self._command is not None and now_s >= self._command_until_s:
            # A command has run out: damp, then limp, as a board does (docs/protocol.md).
            self.stop(Stop.SETTLE, now_s)
        command = self._command
        if command is not None:
            target, kp, kd, cap_nm = (
                self._target_rad,
                command.kp,
                command.kd,
                command.torque_cap_nm,
            )
        elif self._stopping_until_s is not None and now_s < self._stopping_until_s:
            target, kp, kd, cap_nm = LIMP, 0.0, SETTLE_KD, math.inf
        else:
            self._guard.enabled(LIMP, self._dt_s)
            self._set(LIMP, LIMP)
            return LIMP
        torque, current, reported = self._motor.step(target, felt, now, kp=kp, kd=kd, cap_nm=cap_nm)
        on = self._guard.enabled(torque, self._dt_s)
        if self._guard.any_off:
            torque = [value if ok else 0.0 for value, ok in zip(torque, on, strict=True)]
            current = [value if ok else 0.0 for value, ok in zip(current, on, strict=True)]
        self._set(torque, current)
        return reported

    def step_by(self, duty: Sequence[float], now: Joints, cap_nm: float) -> Sequence[float]:
        """Advance the motors by one physics step under an external controller, as a board's.

        The external controller protects the motors from overheating.

        Args:
            duty: PWM duty of each motor in [-1, 1].
            now: true joint angles and speeds.
            cap_nm: largest torque magnitude.

        Returns:
            8 torques as a board reports them, N m.
        """
        torque, current, reported = self._motor.drive(duty, now, cap_nm)
        self._set(torque, current)
        return reported

    def warm_up(self) -> None:
        """Heat the motors by the currents since the last call."""
        steps = len(self._currents_a)
        mean_a2 = []
        for motor_a in zip(*self._currents_a, strict=True):
            total_a2 = 0.0
            for current_a in motor_a:
                total_a2 += current_a * current_a
            mean_a2.append(total_a2 / steps)
        self._currents_a.clear()
        self._heat.advance(mean_a2, steps * self._dt_s)

    def state_dict(self) -> dict[str, Any]:
        """All that changes over time, as JSON values; torques in the body's signs."""
        command = self._command
        return {
            "guard": self._guard.state_dict(),
            "heat": self._heat.state_dict(),
            "torque_nm": turned(self.torque_nm),
            "current_a": list(self.current_a),
            "command": None if command is None else command.to_dict(),
            "command_until_s": self._command_until_s,
            "stopping_until_s": self._stopping_until_s,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            KeyError: a value is missing.
        """
        self._guard.load_state_dict(state["guard"])
        self._heat.load_state_dict(state["heat"])
        self.torque_nm = turned([float(torque) for torque in state["torque_nm"]])
        # Older checkpoints lack it; only measurements read it.
        self.current_a = [float(current) for current in state.get("current_a", LIMP)]
        saved = state["command"]
        self._hold(None if saved is None else MotorCommand.from_dict(saved))
        self._command_until_s = float(state["command_until_s"])
        until = state["stopping_until_s"]
        self._stopping_until_s = None if until is None else float(until)

    def _hold(self, command: MotorCommand | None) -> None:
        self._command = command
        self._target_rad = LIMP if command is None else turned(command.angle_rad.tolist())

    def _set(self, torque_nm: Sequence[float], current_a: Sequence[float]) -> None:
        self.torque_nm, self.current_a = torque_nm, current_a
        self._currents_a.append(current_a)
