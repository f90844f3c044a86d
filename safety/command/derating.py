# SPDX-License-Identifier: MIT
"""Torque derating: limits an overloaded motor before its board switches it off. Pure.

A Minitaur's board switches off a motor that holds more than 2.45 N m for one second, to protect the
winding (bullet3 minitaur.py; docs/protocol.md). A learning robot with jammed legs reaches that. So
after half of that time the host lowers the motor's torque limit, until the board's timer has
restarted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

EARLY = 0.5  # share of the board's time after which a motor is derated
RELIEF = 0.5  # share of the overload torque that a derated motor may produce
RELIEF_S = 0.06  # derating outlasts the measured overload by this: telemetry is delayed
SEEN = 0.95  # measured share of the overload torque that counts: telemetry is rounded


class TorqueDerating:
    """Measures how long each motor has been overloaded and derives its torque limit.

    Args:
        torque_nm: torque magnitude from which on a motor is overloaded.
        time_s: time of overload after which the board switches a motor off.
        cap_nm: torque limit of a motor that is not derated.
    """

    def __init__(self, torque_nm: float, time_s: float, cap_nm: float) -> None:
        self._torque_nm, self._time_s, self._cap_nm = torque_nm, time_s, cap_nm
        self._since_s: FloatArray | None = None
        self._until_s: FloatArray | None = None

    def caps(self, torque_nm: FloatArray, now_s: float) -> FloatArray:
        """The torque limit of each motor now.

        Args:
            torque_nm: (n,) measured torques; NaN counts as overload.
            now_s: monotonic time of the measurement.

        Returns:
            (n,) torque limits in N m, a new array.
        """
        if self._since_s is None or self._until_s is None:
            self._since_s = np.full(torque_nm.shape, now_s)
            self._until_s = np.full(torque_nm.shape, -np.inf)
        # Written so that NaN counts as overload.
        fine = np.abs(torque_nm) < SEEN * self._torque_nm
        self._since_s[fine] = now_s
        tired = now_s - self._since_s >= EARLY * self._time_s
        self._until_s[tired] = now_s + RELIEF_S
        return np.where(now_s < self._until_s, RELIEF * self._torque_nm, self._cap_nm)
