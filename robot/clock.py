# SPDX-License-Identifier: MIT
"""Who lets time pass: the loop waits for the next control period, the clock says what that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sim.twin import PyBulletRobot


class Clock(Protocol):
    """Control periods."""

    period_s: float

    def now_s(self) -> float:
        """Monotonic seconds of the robot's world."""
        ...

    def tick(self) -> None:
        """Wait until the next control period begins."""
        ...


class TwinClock:
    """Lockstep: a tick makes the twin's physics run for one control period."""

    def __init__(self, twin: PyBulletRobot, rate_hz: float) -> None:
        self._twin = twin
        self.period_s = 1.0 / rate_hz

    def now_s(self) -> float:
        """Simulated seconds."""
        return self._twin.time_s

    def tick(self) -> None:
        """Advance the twin."""
        self._twin.advance(self.period_s)
