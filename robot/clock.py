# SPDX-License-Identifier: MIT
"""Who lets time pass: the loop waits for the next control period, the clock says what that is."""

from __future__ import annotations

import time
from collections.abc import Callable
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


class PacedClock:
    """A twin's clock that takes as long as a robot would: for people who drive or watch.

    Deadlines are absolute, so that nothing adds up; a tick that comes too late is not made up for.

    Args:
        inner: lets the twin's time pass.
        wall: monotonic seconds.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        inner: Clock,
        wall: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner, self._wall, self._sleep = inner, wall, sleep
        self.period_s = inner.period_s
        self._deadline_s = wall()

    def now_s(self) -> float:
        """Seconds of the robot's world."""
        return self._inner.now_s()

    def tick(self) -> None:
        """Let a period pass, here and there."""
        self._inner.tick()
        now_s = self._wall()
        self._deadline_s = max(self._deadline_s + self.period_s, now_s)
        self._sleep(self._deadline_s - now_s)
