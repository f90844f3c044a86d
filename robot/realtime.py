# SPDX-License-Identifier: MIT
"""Time for a real robot: absolute deadlines, and how late the loop was.

A tick waits for the next deadline on CLOCK_MONOTONIC; deadlines are a fixed grid, so lateness never
adds up. A loop that overslept whole periods skips them and keeps the phase: it never makes up for
them in a burst. Lateness is counted in a logarithmic histogram that is allocated once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

_BUCKETS_PER_DECADE = 20
_DECADES = 6  # 1 us to 1 s
_SMALLEST_S = 1e-6


class Lateness:
    """How late each tick was, in bounded memory.

    Args:
        limit_s: later than that is a miss.

    Attributes:
        ticks: counted so far.
        misses: of them, those later than the limit.
        worst_s: the latest.
        run: misses in a row, now.
        longest_run: misses in a row, at most.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._counts = np.zeros(_BUCKETS_PER_DECADE * _DECADES + 1, np.int64)
        self.ticks = self.misses = self.run = self.longest_run = 0
        self.worst_s = 0.0

    def add(self, late_s: float) -> None:
        """Count one tick; early counts as on time."""
        self.ticks += 1
        self.worst_s = max(self.worst_s, late_s)
        self._counts[_bucket(late_s)] += 1
        if late_s > self._limit_s:
            self.misses += 1
            self.run += 1
            self.longest_run = max(self.longest_run, self.run)
        else:
            self.run = 0

    def quantile_s(self, share: float) -> float:
        """Upper edge of the bucket (12 % wide) that holds this share of all ticks; 0 for none."""
        if not self.ticks:
            return 0.0
        index = int(np.searchsorted(np.cumsum(self._counts), math.ceil(share * self.ticks)))
        return min(_edge_s(index), max(self.worst_s, _SMALLEST_S))

    def summary(self) -> dict[str, float | int]:
        """For summary.json and the view; times in milliseconds."""
        return {
            "ticks": self.ticks,
            "p50_ms": 1e3 * self.quantile_s(0.5),
            "p99_ms": 1e3 * self.quantile_s(0.99),
            "p99_9_ms": 1e3 * self.quantile_s(0.999),
            "worst_ms": 1e3 * self.worst_s,
            "misses": self.misses,
            "longest_run": self.longest_run,
        }

    def histogram(self) -> list[tuple[float, int]]:
        """(upper edge in s, ticks) of every bucket that is not empty."""
        return [(_edge_s(i), int(n)) for i, n in enumerate(self._counts) if n]


class RealTimeClock:
    """Control periods on the wall clock; a `robot.clock.Clock`.

    Args:
        rate_hz: of the ticks.
        miss_s: later than that is a miss; half a period when None.
        clock: monotonic seconds.
        sleep: waits so many seconds, or a bit longer.

    Attributes:
        period_s: between two deadlines.
        lateness: of all ticks.
        skipped: whole periods that were overslept.
    """

    def __init__(
        self,
        rate_hz: float,
        miss_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.period_s = 1.0 / rate_hz
        self.lateness = Lateness(0.5 * self.period_s if miss_s is None else miss_s)
        self.skipped = 0
        self._clock, self._sleep = clock, sleep
        self._start_s = clock()
        self._slot = 0

    def now_s(self) -> float:
        """Monotonic seconds."""
        return self._clock()

    def restart(self) -> None:
        """A new grid from now: after a time in which nobody ticked on purpose."""
        self._start_s, self._slot = self._clock(), 0

    def tick(self) -> None:
        """Wait for the next deadline.

        One that has passed by less than a period is late and counts; whole periods that have
        passed are skipped.
        """
        self._slot += 1
        behind = math.floor((self._clock() - self._start_s) / self.period_s) - self._slot
        if behind > 0:
            self.skipped += behind
            self._slot += behind
        # The slot's own product, not a running sum: no rounding adds up over hours.
        deadline_s = self._start_s + self._slot * self.period_s
        while (left_s := deadline_s - self._clock()) > 0.0:
            self._sleep(left_s)
        self.lateness.add(self._clock() - deadline_s + max(0, behind) * self.period_s)


def _bucket(late_s: float) -> int:
    if not late_s > _SMALLEST_S:
        return 0
    index = math.ceil(_BUCKETS_PER_DECADE * math.log10(late_s / _SMALLEST_S))
    return min(index, _BUCKETS_PER_DECADE * _DECADES)


def _edge_s(index: int) -> float:
    return float(_SMALLEST_S * 10.0 ** (index / _BUCKETS_PER_DECADE))
