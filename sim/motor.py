# SPDX-License-Identifier: MIT
"""Model of the Minitaur's DC motors: PD control in PWM units, back-EMF, saturation, heat.

Electrical constants are those of `hardware.constants`. Heat is a two-node model with the published
thermal constants of the Minitaur's motors. Values are plain floats per motor, because for eight
motors Python is faster than NumPy.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import (
    CURRENT_TABLE_A,
    RESISTANCE_OHM,
    TORQUE_CONSTANT_NM_A,
    TORQUE_TABLE_NM,
)
from walkhome.sim.history import Joints

FloatArray = npt.NDArray[np.float64]

VOLTAGE_CLIP_V = 50.0
OBSERVED_TORQUE_LIMIT_NM = 5.7
_LAST = len(CURRENT_TABLE_A) - 1
_SLOPES: tuple[float, ...] = tuple((np.diff(TORQUE_TABLE_NM) / np.diff(CURRENT_TABLE_A)).tolist())

AMBIENT_C = 22.0
CORE_TO_CASE_K_W = 0.4907
CORE_J_K = 88.63
CASE_TO_AIR_K_W = 1.4339
CASE_J_K = 481.47
WINDING_OHM = 0.2


@dataclass(frozen=True)
class MotorModel:
    """Computes shaft torques from PD targets like the Minitaur's motor controllers.

    Attributes:
        battery_v: bus voltage; stiffness scales with it, because gains are in PWM duty.
        viscous_damping_v_s: extra loss proportional to speed, V per rad/s (bullet3: 0).
        strength: factor on the delivered torque.
    """

    battery_v: float = 16.0
    viscous_damping_v_s: float = 0.0
    strength: float = 1.0

    def step(
        self,
        target_rad: Sequence[float],
        felt: Joints,
        now: Joints,
        *,
        kp: float,
        kd: float,
        cap_nm: float = math.inf,
    ) -> tuple[list[float], list[float], list[float]]:
        """Compute one step of PD controllers and motors, in a single loop for speed.

        Args:
            target_rad: target angle of each motor.
            felt: angle and speed of each motor as its controller measures them, delayed.
            now: true angle and speed of each motor; the speed gives the back-EMF.
            kp: proportional gain, PWM duty per rad.
            kd: derivative gain, PWM duty per rad/s.
            cap_nm: largest torque magnitude; the current is limited to match it.

        Returns:
            Per motor: shaft torque (N m), magnitude of the current (A), and the torque that a board
            estimates from duty alone (N m).
        """
        volts_per_rad_s = TORQUE_CONSTANT_NM_A + self.viscous_damping_v_s
        battery_v, strength, limit = self.battery_v, self.strength, OBSERVED_TORQUE_LIMIT_NM
        torques, currents, estimates = [], [], []
        for target, known, true in zip(target_rad, felt, now, strict=True):
            duty = kp * (target - known[0]) - kd * known[1]
            duty = -1.0 if duty < -1.0 else 1.0 if duty > 1.0 else duty
            estimate = TORQUE_CONSTANT_NM_A * (duty * battery_v / RESISTANCE_OHM)
            estimates.append(
                -limit if estimate < -limit else limit if estimate > limit else estimate
            )
            volts = duty * battery_v - volts_per_rad_s * true[1]
            magnitude_v = volts if volts >= 0.0 else -volts
            current = (magnitude_v if magnitude_v < VOLTAGE_CLIP_V else VOLTAGE_CLIP_V) / (
                RESISTANCE_OHM
            )
            torque = strength * torque_of(current)
            if torque > cap_nm:
                torque, current = cap_nm, current_of(cap_nm / strength)
            torques.append(torque if volts >= 0.0 else -torque)
            currents.append(current)
        return torques, currents, estimates

    def drive(
        self, duty: Sequence[float], now: Joints, cap_nm: float = math.inf
    ) -> tuple[list[float], list[float], list[float]]:
        """As `step`, but from the PWM duty of each motor in [-1, 1] instead of PD targets."""
        # With gain 1 and no measured motion, the target is the duty.
        return self.step(duty, [(0.0, 0.0)] * len(duty), now, kp=1.0, kd=0.0, cap_nm=cap_nm)


def torque_of(current_a: float) -> float:
    """Torque (N m) of a current magnitude (A): interpolates the table, constant above its end."""
    i = bisect_right(CURRENT_TABLE_A, current_a) - 1
    if i >= _LAST:
        return TORQUE_TABLE_NM[_LAST]
    return _SLOPES[i] * (current_a - CURRENT_TABLE_A[i]) + TORQUE_TABLE_NM[i]


def current_of(torque_nm: float) -> float:
    """Current magnitude (A) of a torque magnitude (N m); inverse of `torque_of` below its end."""
    return float(np.interp(torque_nm, TORQUE_TABLE_NM, CURRENT_TABLE_A))


def electrical_power_w(
    torque_nm: FloatArray, current_a: FloatArray, velocity_rad_s: FloatArray
) -> FloatArray:
    """Electrical power that each motor draws: copper loss plus back-EMF times current.

    Args:
        torque_nm: (..., 8) shaft torques; the current has the same sign.
        current_a: (..., 8) magnitudes of the currents.
        velocity_rad_s: (..., 8) shaft velocities.

    Returns:
        (..., 8) W; negative while a motor brakes and feeds current back.
    """
    heat_w = RESISTANCE_OHM * np.square(current_a)
    back_emf_w = TORQUE_CONSTANT_NM_A * velocity_rad_s * np.copysign(current_a, torque_nm)
    return np.asarray(heat_w + back_emf_w, dtype=np.float64)


class OverheatGuard:
    """Switches off a motor that exerts too much torque for too long, and on again after a while.

    bullet3's Minitaur keeps the motor off until the next reset. Without resets the motor comes back
    after `recovery_s`, as with a board that clears the fault by itself.

    Args:
        n_motors: number of motors.
        torque_nm: torque magnitude above which a motor heats up.
        time_s: longest time above it.
        recovery_s: how long a motor stays off.

    Attributes:
        any_off: whether a motor is off now.
    """

    def __init__(
        self, n_motors: int, *, torque_nm: float, time_s: float, recovery_s: float = 2.0
    ) -> None:
        self._torque_nm = torque_nm
        self._time_s = time_s
        self._recovery_s = recovery_s
        self._hot_s = [0.0] * n_motors
        self._off_s = [0.0] * n_motors
        self._all_on = [True] * n_motors
        self._cold = True  # no timer runs
        self.any_off = False

    def state_dict(self) -> dict[str, list[float]]:
        """The timers of each motor, s, as JSON values."""
        return {"hot_s": list(self._hot_s), "off_s": list(self._off_s)}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: a value is missing.
        """
        self._hot_s = [float(value) for value in state["hot_s"]]
        self._off_s = [float(value) for value in state["off_s"]]
        self.any_off = any(off > 0.0 for off in self._off_s)
        self._cold = not self.any_off and not any(self._hot_s)

    def enabled(self, torque_nm: Sequence[float], dt_s: float) -> Sequence[bool]:
        """Per motor, whether it may exert `torque_nm` for the next `dt_s`; advances the timers."""
        hot_s, off_s, limit = self._hot_s, self._off_s, self._torque_nm
        if self._cold and max(torque_nm) <= limit and min(torque_nm) >= -limit:
            return self._all_on
        for i, torque in enumerate(torque_nm):
            if off_s[i] > 0.0:
                off_s[i] -= dt_s
            elif torque > limit or torque < -limit:
                hot_s[i] += dt_s
                if hot_s[i] > self._time_s:
                    hot_s[i], off_s[i] = 0.0, self._recovery_s
            else:
                hot_s[i] = 0.0
        on = [off <= 0.0 for off in off_s]
        self.any_off = not all(on)
        self._cold = not self.any_off and not any(hot_s)
        return on


class ThermalModel:
    """Winding and case temperatures of motors: two thermal nodes each, ambient at the start."""

    def __init__(self, n_motors: int) -> None:
        self._core_c = [AMBIENT_C] * n_motors
        self._case_c = [AMBIENT_C] * n_motors

    @property
    def core_c(self) -> Sequence[float]:
        """Winding temperature of each motor, degrees C."""
        return tuple(self._core_c)

    def state_dict(self) -> dict[str, list[float]]:
        """The temperatures, degrees C, as JSON values."""
        return {"core_c": list(self._core_c), "case_c": list(self._case_c)}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: a value is missing.
        """
        self._core_c = [float(value) for value in state["core_c"]]
        self._case_c = [float(value) for value in state["case_c"]]

    def advance(self, squared_current_a2: Sequence[float], dt_s: float) -> None:
        """Advance the temperatures by `dt_s` with the copper loss of the currents.

        Args:
            squared_current_a2: mean square current of each motor, A^2.
            dt_s: must be far below the windings' time constant of 40 s.
        """
        core_c, case_c = self._core_c, self._case_c
        for i, square_a2 in enumerate(squared_current_a2):
            core, case = core_c[i], case_c[i]
            to_case_w = (core - case) / CORE_TO_CASE_K_W
            to_air_w = (case - AMBIENT_C) / CASE_TO_AIR_K_W
            core_c[i] = core + (WINDING_OHM * square_a2 - to_case_w) * (dt_s / CORE_J_K)
            case_c[i] = case + (to_case_w - to_air_w) * (dt_s / CASE_J_K)
