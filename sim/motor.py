# SPDX-License-Identifier: MIT
"""The Minitaur's DC motors: PD in PWM units, back-EMF, the current-torque table, heat.

Constants from bullet3 `pybullet_envs/minitaur/envs/motor.py` and `minitaur.py` (commit 6c888f4);
thermal constants are published ones of the Minitaur's motors, a two-node model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

TORQUE_CONSTANT_NM_A = 0.0954
RESISTANCE_OHM = 0.186
VOLTAGE_CLIP_V = 50.0
OBSERVED_TORQUE_LIMIT_NM = 5.7
# Empirical saturation of the torque with the current.
CURRENT_TABLE_A: FloatArray = np.array([0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
TORQUE_TABLE_NM: FloatArray = np.array([0.0, 1.0, 1.9, 2.45, 3.0, 3.25, 3.5])

AMBIENT_C = 22.0
CORE_TO_CASE_K_W = 0.4907
CORE_J_K = 88.63
CASE_TO_AIR_K_W = 1.4339
CASE_J_K = 481.47
WINDING_OHM = 0.2


@dataclass(frozen=True)
class MotorModel:
    """Turns PD targets into shaft torque, as the Minitaur's motor controllers do.

    Attributes:
        battery_v: bus voltage; stiffness scales with it, because gains are PWM duty.
        viscous_damping_v_s: extra speed-proportional loss, V per rad/s (bullet3 default 0).
        strength: factor on the delivered torque.
    """

    battery_v: float = 16.0
    viscous_damping_v_s: float = 0.0
    strength: float = 1.0

    def pwm(
        self,
        target_rad: FloatArray,
        angle_rad: FloatArray,
        velocity_rad_s: FloatArray,
        kp: float,
        kd: float,
    ) -> FloatArray:
        """(8,) duty in [-1, 1] of the PD controller on delayed measurements."""
        duty = kp * (target_rad - angle_rad) - kd * velocity_rad_s
        return np.minimum(np.maximum(duty, -1.0), 1.0)

    def torque(self, pwm: FloatArray, true_velocity_rad_s: FloatArray) -> FloatArray:
        """(8,) shaft torque, N m, from duty and the true speed (back-EMF)."""
        volts = pwm * self.battery_v
        volts = volts - (TORQUE_CONSTANT_NM_A + self.viscous_damping_v_s) * true_velocity_rad_s
        current = np.minimum(np.abs(volts), VOLTAGE_CLIP_V) / RESISTANCE_OHM
        magnitude = np.interp(current, CURRENT_TABLE_A, TORQUE_TABLE_NM)
        return np.asarray(self.strength * np.copysign(magnitude, volts), dtype=np.float64)

    def observed_torque(self, pwm: FloatArray) -> FloatArray:
        """(8,) torque as the board estimates it from duty alone, N m."""
        estimate = TORQUE_CONSTANT_NM_A * self.battery_v / RESISTANCE_OHM * pwm
        return np.asarray(
            np.minimum(np.maximum(estimate, -OBSERVED_TORQUE_LIMIT_NM), OBSERVED_TORQUE_LIMIT_NM)
        )


class OverheatGuard:
    """Switches a motor off that holds too much torque for too long; it cools, then works again.

    bullet3's Minitaur keeps the motor off until the next reset. Here nobody resets the robot, so the
    motor comes back after `recovery_s`, as a board does that clears the fault by itself.
    """

    def __init__(
        self, n_motors: int, torque_nm: float, time_s: float, recovery_s: float = 2.0
    ) -> None:
        self._torque_nm = torque_nm
        self._time_s = time_s
        self._recovery_s = recovery_s
        self._hot_s = np.zeros(n_motors)
        self._off_s = np.zeros(n_motors)

    @property
    def any_off(self) -> bool:
        """Whether any motor is switched off now."""
        return bool(self._off_s.any())

    def apply(self, torque_nm: FloatArray, dt_s: float) -> FloatArray:
        """(8,) torque with the switched-off motors at zero, after `dt_s` more of it."""
        # Adding to zero where the torque is small resets the counter without a branch per motor.
        self._hot_s = (self._hot_s + dt_s) * (np.abs(torque_nm) > self._torque_nm)
        if self._hot_s.max() > self._time_s:
            tripped = self._hot_s > self._time_s
            self._off_s[tripped] = self._recovery_s
            self._hot_s[tripped] = 0.0
        if not self.any_off:
            return torque_nm
        self._off_s = np.maximum(self._off_s - dt_s, 0.0)
        return np.where(self._off_s > 0.0, 0.0, torque_nm)


class ThermalModel:
    """Winding and case temperatures of the motors, two thermal nodes each."""

    def __init__(self, n_motors: int) -> None:
        self._core_c = np.full(n_motors, AMBIENT_C)
        self._case_c = np.full(n_motors, AMBIENT_C)

    @property
    def core_c(self) -> FloatArray:
        """(8,) winding temperature, degrees C."""
        return self._core_c.copy()

    def advance(self, torque_nm: FloatArray, dt_s: float) -> None:
        """Heat by the copper loss of `torque_nm` for `dt_s`, which is far below the 40 s constant."""
        current = np.interp(np.abs(torque_nm), TORQUE_TABLE_NM, CURRENT_TABLE_A)
        loss_w = WINDING_OHM * current * current
        to_case_w = (self._core_c - self._case_c) / CORE_TO_CASE_K_W
        to_air_w = (self._case_c - AMBIENT_C) / CASE_TO_AIR_K_W
        self._core_c = self._core_c + (loss_w - to_case_w) * (dt_s / CORE_J_K)
        self._case_c = self._case_c + (to_case_w - to_air_w) * (dt_s / CASE_J_K)
