# SPDX-License-Identifier: MIT
"""A clock for the twin that records forces, torques and power at every physics step.

Evaluation uses it in place of `robot.control.clock.TwinClock`. Recording does not change how the
twin moves. It also applies random pushes, if asked to. Torque peaks right after each command, so
sampling once per control period would be wrong by a fifth.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import N_LEGS, N_MOTORS
from walkhome.robot.evaluation.gait_record import GaitRecord
from walkhome.sim.instruments import foot_forces, push
from walkhome.sim.motor import electrical_power_w
from walkhome.sim.twin import PyBulletRobot

FloatArray = npt.NDArray[np.float64]


class InstrumentedClock:
    """Paces the twin like `TwinClock`, and records every physics step after `start`.

    Args:
        twin: the twin to advance.
        rate_hz: control rate.
        pushes: forces on the trunk, applied after `start`; None: none.

    Attributes:
        period_s: control period.
        elapsed_s: length of the last control period; always `period_s`.
        late_s: 0: simulated time is never late.
    """

    def __init__(self, twin: PyBulletRobot, rate_hz: float, pushes: Pushes | None = None) -> None:
        self._twin, self._pushes = twin, pushes
        self.period_s = self.elapsed_s = 1.0 / rate_hz
        self.late_s = 0.0
        self._step_s = 1.0 / twin.settings.physics_rate_hz
        self._steps = max(1, round(self.period_s / self._step_s))
        self._rows: list[FloatArray] = []
        self._start_s: float | None = None  # None: not recording

    def now_s(self) -> float:
        """Return the simulated time, s."""
        return self._twin.time_s

    def start(self) -> None:
        """Discard the record, and begin to record and to push."""
        self._rows, self._start_s = [], self._twin.time_s

    def tick(self) -> None:
        """Advance the twin by one control period."""
        if self._start_s is None:
            self._twin.advance(self.period_s)
            return
        for _ in range(self._steps):
            self._step(self._start_s)

    def _step(self, start_s: float) -> None:
        twin = self._twin
        if self._pushes is not None:
            force_n = self._pushes.force_n(twin.time_s - start_s)
            if force_n is not None:
                push(twin, force_n)
        twin.advance(self._step_s)
        true, torque_nm = twin.true_state(), twin.shaft_torque_nm
        velocity = true.motor_velocity_rad_s
        power_w = electrical_power_w(torque_nm, twin.motor_current_a, velocity)
        now = np.array([twin.time_s - start_s])
        parts = (now, foot_forces(twin), true.motor_angle_rad, velocity, torque_nm, power_w)
        self._rows.append(np.concatenate(parts))

    def record(self) -> GaitRecord:
        """Return the record since `start`, a row per physics step."""
        width = 1 + N_LEGS + 4 * N_MOTORS
        table = np.array(self._rows).reshape(-1, width)
        time, *columns = np.split(table, [1, *range(1 + N_LEGS, width, N_MOTORS)], axis=1)
        return GaitRecord(time[:, 0], *columns)


class Pushes:
    """Random horizontal pushes at the trunk, every few seconds.

    Args:
        impulse_n_s: impulse of each push; 1 N s changes a 6 kg robot's speed by 0.17 m/s.
        rng: chooses directions and times.

    Attributes:
        count: pushes that have begun.
    """

    EVERY_S = (1.5, 3.0)  # shortest and longest pause before a push
    LASTS_S = 0.1

    def __init__(self, impulse_n_s: float, rng: np.random.Generator) -> None:
        self._force_n, self._rng = impulse_n_s / self.LASTS_S, rng
        self.count = 0
        self._start_s, self._direction, self._begun = self._plan(0.0)

    def force_n(self, time_s: float) -> FloatArray | None:
        """Return the force at a time; call it with times that do not decrease.

        Args:
            time_s: time since the start of the record.

        Returns:
            (3,) force in N, world frame; None between two pushes.
        """
        if time_s < self._start_s:
            return None
        if time_s >= self._start_s + self.LASTS_S:
            self._start_s, self._direction, self._begun = self._plan(time_s)
            return None
        if not self._begun:
            self._begun, self.count = True, self.count + 1
        return np.asarray(self._direction * self._force_n, dtype=np.float64)

    def _plan(self, now_s: float) -> tuple[float, FloatArray, bool]:
        """Choose start (s) and direction (unit vector) of the next push, which has not begun."""
        start_s = now_s + float(self._rng.uniform(*self.EVERY_S))
        angle_rad = float(self._rng.uniform(-math.pi, math.pi))
        return start_s, np.array([math.cos(angle_rad), math.sin(angle_rad), 0.0]), False
