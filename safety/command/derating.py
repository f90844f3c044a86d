# SPDX-License-Identifier: MIT
"""Relieves a motor before its board switches it off for straining too long. Pure.

A Minitaur's board takes more than 2.45 N m for one second as a danger to the winding, and lets the
motor go until a person or the host clears it (bullet3 minitaur.py; docs/protocol.md). A robot whose
legs are jammed under it gets there while it learns. So after a part of that second the motor may
give only less, for long enough that its board counts anew.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

EARLY = 0.5  # share of the board's time after which a motor is relieved
RELIEF = 0.5  # share of the torque that it may then give
RELIEF_S = 0.06  # for so long after it was seen to be relieved; telemetry is late
SEEN = 0.95  # share of the torque that counts: telemetry is rounded and late


class TorqueDerating:
    """Follows the torque of all motors.

    Args:
        torque_nm: that a motor may not hold.
        time_s: for so long.
        cap_nm: of a motor that is fine.
    """

    def __init__(self, torque_nm: float, time_s: float, cap_nm: float) -> None:
        self._torque_nm, self._time_s, self._cap_nm = torque_nm, time_s, cap_nm
        self._since_s: FloatArray | None = None
        self._until_s: FloatArray | None = None

    def caps(self, torque_nm: FloatArray, now_s: float) -> FloatArray:
        """What each motor may give now.

        Args:
            torque_nm: (n,) measured.
            now_s: when, monotonic.

        Returns:
            (n,) N m.
        """
        if self._since_s is None or self._until_s is None:
            self._since_s = np.full(torque_nm.shape, now_s)
            self._until_s = np.full(torque_nm.shape, -np.inf)
        # Not "less or equal": a torque that nobody knows counts as too much.
        fine = np.abs(torque_nm) < SEEN * self._torque_nm
        self._since_s[fine] = now_s
        tired = now_s - self._since_s >= EARLY * self._time_s
        self._until_s[tired] = now_s + RELIEF_S
        return np.where(now_s < self._until_s, RELIEF * self._torque_nm, self._cap_nm)
