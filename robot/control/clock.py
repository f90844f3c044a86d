# SPDX-License-Identifier: MIT
"""Clocks that pace the control cycle: simulated time, wall time, paced simulation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from walkhome.hardware.serial.telemetry import Heard
from walkhome.hardware.timing import Lateness
from walkhome.robot.control.cycle_trace import CycleTrace
from walkhome.safety.supervisor.client import COMMAND_EVERY_S

if TYPE_CHECKING:
    from walkhome.sim.twin import PyBulletRobot


MEANWHILE_UNTIL_S = 2e-3
"""When `meanwhile` is called for the last time before a deadline: the next period then begins 2 ms
after a command, and not a whole period after it."""
_SOON_S = 1e-3  # calls that are closer together than this are merged
# A control grid that only nearly matches the rate of the states would use each state sometimes
# right after it came and sometimes a whole period later. So the grid follows the states: by the
# last call the newest state has come, four times in five.
_EARLIER_S, _LATER_S = 25e-6, 100e-6
_WHOLE = 0.1  # largest distance from a whole number of states per period


class Clock(Protocol):
    """Paces the control periods.

    Attributes:
        period_s: nominal length of a period.
        elapsed_s: real length of the last period, skipped periods included.
        late_s: how late the newest period began; 0 in simulated time.
    """

    period_s: float
    elapsed_s: float
    late_s: float

    def now_s(self) -> float:
        """Monotonic time of the robot's world, s."""
        ...

    def tick(self) -> None:
        """Wait until the next control period begins."""
        ...


class TwinClock:
    """Simulated time: a tick runs the twin's physics for one control period."""

    def __init__(self, twin: PyBulletRobot, rate_hz: float) -> None:
        self._twin = twin
        self.period_s = self.elapsed_s = 1.0 / rate_hz
        self.late_s = 0.0

    def now_s(self) -> float:
        """Simulated time in seconds."""
        return self._twin.time_s

    def tick(self) -> None:
        """Advance the twin by one control period."""
        self._twin.advance(self.period_s)


class WallClock:
    """Wall time: absolute deadlines on a fixed grid, so that lateness never adds up.

    A period that was missed altogether is skipped and never made up for by a burst. The grid
    follows a robot that sends states by its own clock, by at most 0.1 ms per period.

    Args:
        rate_hz: control periods per second.
        clock: monotonic time, s.
        sleep: waits for some seconds, or a little longer.
        trace: notes intended pauses and commands that were repeated while waiting.
        meanwhile: called while the clock waits for a deadline: `MEANWHILE_UNTIL_S` before it, and
            every `safety.supervisor.client.COMMAND_EVERY_S` before that unless the period is
            shorter. It must not wait. It returns whether it sent the robot anything.
        heard: called after the last `meanwhile`; returns how many of the robot's states have come
            since the robot was read, if that is known.

    Attributes:
        trace: as given, or a new one.
        lateness: lateness of every tick; later than a period counts as a miss.
        skipped: number of periods that were missed altogether.
    """

    def __init__(
        self,
        rate_hz: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        trace: CycleTrace | None = None,
        meanwhile: Callable[[], bool] | None = None,
        heard: Callable[[], Heard | None] = lambda: None,
    ) -> None:
        self.period_s = self.elapsed_s = 1.0 / rate_hz
        self.late_s = 0.0
        self._heard = heard
        self._meanwhile = meanwhile if self.period_s > COMMAND_EVERY_S else None
        self.trace = trace or CycleTrace()
        self.lateness = Lateness(self.period_s)
        self.skipped = 0
        self._clock, self._sleep = clock, sleep
        self._start_s, self._slot = clock(), 0

    @property
    def achieved_hz(self) -> float:
        """Ticks per second without intended pauses; 0 before the first tick."""
        periods = self.lateness.count + self.skipped
        return self.lateness.count / (periods * self.period_s) if periods else 0.0

    def now_s(self) -> float:
        """Monotonic time in seconds."""
        return self._clock()

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds outside of control periods."""
        self._sleep(seconds)

    def restart(self) -> None:
        """Start a new grid now, after an intended pause."""
        self.trace.restart()
        self._start_s, self._slot, self.late_s = self._clock(), 0, 0.0

    def tick(self) -> None:
        """Sleep until the next deadline; a deadline that has passed counts as late."""
        before, self._slot = self._slot, self._slot + 1
        # The slot's own product, not a running sum: no rounding adds up over hours.
        deadline_s = self._start_s + self._slot * self.period_s
        self._sleep_until(deadline_s)
        self.late_s = late_s = self._clock() - deadline_s
        self.lateness.add(late_s)
        skipped = max(0, int(late_s / self.period_s))  # the phase stays
        self.skipped += skipped
        self._slot += skipped
        self.elapsed_s = (self._slot - before) * self.period_s

    def _sleep_until(self, deadline_s: float) -> None:
        while (left_s := deadline_s - self._clock()) > 0.0:
            # Counted back from the last call, whose time before the deadline is fixed.
            calls = math.ceil((left_s - MEANWHILE_UNTIL_S - _SOON_S) / COMMAND_EVERY_S)
            if self._meanwhile is None or calls <= 0:
                self._sleep(left_s)
                return
            self._sleep(left_s - MEANWHILE_UNTIL_S - (calls - 1) * COMMAND_EVERY_S)
            if self._meanwhile():
                self.trace.sent()
            if calls == 1:
                self._follow()

    def _follow(self) -> None:
        """Move the grid a little, so that the newest state comes right before the last call."""
        heard = self._heard()
        if heard is None or not heard.period_s > 0.0:
            return
        states = self.period_s / heard.period_s
        if states < 0.5 or abs(states - round(states)) > _WHOLE:
            return  # the phase between the two grids drifts anyway
        self._start_s += _LATER_S if heard.states < round(states) else -_EARLIER_S


class PacedClock:
    """Simulated time at the pace of wall time, for people who drive or watch a twin.

    Deadlines are absolute, so that lateness does not add up; a late tick is not made up for.

    Args:
        inner: the twin's clock.
        wall: monotonic wall time, s.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        inner: Clock,
        wall: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner, self._wall, self._sleep = inner, wall, sleep
        self.period_s = self.elapsed_s = inner.period_s
        self.late_s = 0.0
        self._deadline_s = wall()

    def now_s(self) -> float:
        """Simulated time in seconds."""
        return self._inner.now_s()

    def tick(self) -> None:
        """Advance the twin by one period, and wait until wall time has caught up."""
        self._inner.tick()
        now_s = self._wall()
        self._deadline_s = max(self._deadline_s + self.period_s, now_s)
        self._sleep(self._deadline_s - now_s)
