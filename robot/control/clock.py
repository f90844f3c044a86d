# SPDX-License-Identifier: MIT
"""Who lets time pass: the loop waits for the next control period, the clock says what that is."""

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
"""The last call before a deadline: the step after it, with the whole wait for a processor, then
begins with a silence of 2 ms behind it and not of a period."""
_SOON_S = 1e-3  # closer calls than this are one
# Two grids that only nearly agree meet each state now right after it came, now a whole period
# later; in lockstep it is as old each time. So the grid follows the states: by the last call the
# newest one has come, four times in five.
_EARLIER_S, _LATER_S = 25e-6, 100e-6
_WHOLE = 0.1  # how near to a whole number of states per period it has to be


class Clock(Protocol):
    """Control periods.

    Attributes:
        period_s: nominal length.
        elapsed_s: how long the last one really was, skipped periods included.
        late_s: after its time the newest one began; 0 where nobody waits for time.
    """

    period_s: float
    elapsed_s: float
    late_s: float

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
        self.period_s = self.elapsed_s = 1.0 / rate_hz
        self.late_s = 0.0

    def now_s(self) -> float:
        """Simulated seconds."""
        return self._twin.time_s

    def tick(self) -> None:
        """Advance the twin."""
        self._twin.advance(self.period_s)


class WallClock:
    """Real time: absolute deadlines on a fixed grid, so that lateness never adds up.

    A period that was missed altogether is skipped, never made up for by a burst. With a robot that
    measures by a clock of its own, the grid follows that one, by a tenth of a millisecond at most.

    Args:
        rate_hz: periods per second.
        clock: monotonic seconds.
        sleep: waits so many seconds, or a bit longer.
        trace: told when a pause was meant, and when the robot was told something meanwhile.
        meanwhile: called while it waits for a deadline, `MEANWHILE_UNTIL_S` before it and every
            `safety.supervisor.client.COMMAND_EVERY_S` before that, unless the period is no longer
            than that; must not wait. Says whether it told the robot anything.
        heard: called after the last `meanwhile`; says how many of the robot's states came since it
            was read, if that is known.

    Attributes:
        trace: as given, or its own.
        lateness: of every tick; later than a period is a miss.
        skipped: periods that were missed altogether.
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
        """Ticks per second of ticking, pauses left out; 0 before the first."""
        periods = self.lateness.count + self.skipped
        return self.lateness.count / (periods * self.period_s) if periods else 0.0

    def now_s(self) -> float:
        """Monotonic seconds."""
        return self._clock()

    def sleep(self, seconds: float) -> None:
        """Wait, outside the periods."""
        self._sleep(seconds)

    def restart(self) -> None:
        """A new grid from now, after a pause that was meant."""
        self.trace.restart()
        self._start_s, self._slot, self.late_s = self._clock(), 0, 0.0

    def tick(self) -> None:
        """Sleep until the next deadline; one that has passed is late and counts."""
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
            # Counted from the last call, which comes at the same time before each deadline.
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
            return  # no phase stays
        self._start_s += _LATER_S if heard.states < round(states) else -_EARLIER_S


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
        self.period_s = self.elapsed_s = inner.period_s
        self.late_s = 0.0
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
