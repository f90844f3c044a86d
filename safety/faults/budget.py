# SPDX-License-Identifier: MIT
"""Whether a robot that had to be caught may be armed again by itself: the fault matrix, in use.

    report(error) --> level, budget; gone() when it was found fit --> wait_s() until it may arm

The rows and what they mean are `safety.faults.matrix.FAULTS`. Over all of them there is one more
ceiling, `board.rearms_per_10_min`: a robot that fails in a new way each time is not fine either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from walkhome.hardware.robot import RobotError
from walkhome.safety.faults.matrix import TEN_MINUTES_S, Clears, FaultMonitor


class FaultBudget:
    """The faults of one robot while one process drives it.

    Args:
        now_s: monotonic seconds.
        ceiling: of all faults together in ten minutes.

    Attributes:
        counts: faults by code.
        last: the newest one, for logs: `code`, `level`, `clears`, `used`, `budget`.
    """

    def __init__(self, now_s: Callable[[], float], ceiling: int) -> None:
        self.counts: dict[str, int] = {}
        self.last: dict[str, Any] = {}
        self._now_s, self._ceiling = now_s, ceiling
        self._monitor = FaultMonitor()
        self._all_s: deque[float] = deque()

    def report(self, error: RobotError) -> str:
        """The robot had to be caught.

        Returns:
            Why a person is needed; empty if it may be armed again by itself, in a while.
        """
        now_s, code = self._now_s(), error.code
        self._monitor.report(code, now_s)
        self.counts[code] = self.counts.get(code, 0) + 1
        rule, used = self._monitor.rule(code), self._monitor.used(code, now_s)
        self.last = {
            "code": code,
            "level": rule.level.name,
            "clears": rule.clears.value,
            "used": used,
            "budget": rule.per_10_min if rule.clears is Clears.AUTO_BUDGET else None,
        }
        self._all_s.append(now_s)
        while now_s - self._all_s[0] > TEN_MINUTES_S:
            self._all_s.popleft()
        if code in self._monitor.needs_person(now_s):
            return f"{code}: {self._monitor.why_person(code, now_s)}"
        if len(self._all_s) > self._ceiling:
            return f"{len(self._all_s)} faults within 10 minutes (board.rearms_per_10_min)"
        return ""

    def again(self, error: RobotError) -> None:
        """It shows while the robot lies limp: not a new one, but not gone either."""
        now_s = self._now_s()
        if error.code in self._monitor.active(now_s):
            self._monitor.report(error.code, now_s)

    def gone(self) -> None:
        """The robot was found fit: no condition is there any more."""
        now_s = self._now_s()
        for code in self._monitor.active(now_s):
            self._monitor.gone(code, now_s)

    def wait_s(self) -> float:
        """Until it may be armed; 0 if it may be now."""
        return self._monitor.clears_in_s(self._now_s())

    def waiting_for(self) -> str:
        """The codes that have not cleared yet."""
        return ", ".join(self._monitor.active(self._now_s()))

    def used(self) -> dict[str, dict[str, int]]:
        """Per fault that has a budget and has happened: `used` of `budget` in ten minutes."""
        now_s, rule = self._now_s(), self._monitor.rule
        return {
            code: {"used": self._monitor.used(code, now_s), "budget": rule(code).per_10_min}
            for code in self.counts
            if rule(code).clears is Clears.AUTO_BUDGET
        }
