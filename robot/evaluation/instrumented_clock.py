# SPDX-License-Identifier: MIT
"""A clock for the twin that looks at every physics step: feet, torques, power; and it may push.

Evaluation puts it in the place of `robot.control.clock.TwinClock`. Looking changes nothing: the
twin moves
as it would without. Torque peaks right after each command, so sampling once per control period
would be wrong by a fifth.
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
    """Control periods of the twin, with a look at each physics step.

    Args:
        twin: whose time passes.
        rate_hz: of control.
        pushes: pulls at the trunk now and then; nobody does when None.
    """

    def __init__(self, twin: PyBulletRobot, rate_hz: float, pushes: Pushes | None = None) -> None:
        self._twin, self._pushes = twin, pushes
        self.period_s = self.elapsed_s = 1.0 / rate_hz
        self.late_s = 0.0
        self._step_s = 1.0 / twin.settings.physics_rate_hz
        self._steps = max(1, round(self.period_s / self._step_s))
        self._rows: list[FloatArray] = []
        self._start_s: float | None = None  # nobody looks yet

    def now_s(self) -> float:
        """Simulated seconds."""
        return self._twin.time_s

    def start(self) -> None:
        """Forget what was seen, and begin to look and to push."""
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
        """What was seen since `start`."""
        width = 1 + N_LEGS + 4 * N_MOTORS
        table = np.array(self._rows).reshape(-1, width)
        time, *columns = np.split(table, [1, *range(1 + N_LEGS, width, N_MOTORS)], axis=1)
        return GaitRecord(time[:, 0], *columns)


class Pushes:
    """Pushes the trunk sideways, forward or back, from a random direction, every few seconds.

    Args:
        impulse_n_s: of each push; 1 N s moves a 6 kg robot at 0.17 m/s.
        rng: chooses directions and times.
    """

    EVERY_S = (1.5, 3.0)
    LASTS_S = 0.1

    def __init__(self, impulse_n_s: float, rng: np.random.Generator) -> None:
        self._force_n, self._rng = impulse_n_s / self.LASTS_S, rng
        self.count = 0
        self._start_s, self._direction, self._begun = self._plan(0.0)

    def force_n(self, time_s: float) -> FloatArray | None:
        """(3,) N, world frame, at a time since the start; None between two pushes."""
        if time_s < self._start_s:
            return None
        if time_s >= self._start_s + self.LASTS_S:
            self._start_s, self._direction, self._begun = self._plan(time_s)
            return None
        if not self._begun:
            self._begun, self.count = True, self.count + 1
        return np.asarray(self._direction * self._force_n, dtype=np.float64)

    def _plan(self, now_s: float) -> tuple[float, FloatArray, bool]:
        """When the next one starts, where to, and that it has not begun."""
        start_s = now_s + float(self._rng.uniform(*self.EVERY_S))
        angle_rad = float(self._rng.uniform(-math.pi, math.pi))
        return start_s, np.array([math.cos(angle_rad), math.sin(angle_rad), 0.0]), False
