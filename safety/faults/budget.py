# SPDX-License-Identifier: MIT
"""Decides whether a robot may be armed again after a fault, without a person.

    report(error) --> reason for a person, or "" --> gone() once all checks pass --> wait_s()

It applies `safety.faults.matrix.FAULTS` and one more limit over all faults together,
`board.rearms_per_10_min`, for a robot that fails in a different way each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from walkhome.hardware.robot import RobotError
from walkhome.safety.faults.matrix import TEN_MINUTES_S, Clears, FaultMonitor


class FaultBudget:
    """Counts the faults of one robot during one process.

    Args:
        now_s: returns monotonic seconds.
        ceiling: faults of all kinds allowed in ten minutes.

    Attributes:
        counts: number of faults by code.
        last: the newest fault, for logs: `code`, `level`, `clears`, `used`, `budget`.
    """

    def __init__(self, now_s: Callable[[], float], ceiling: int) -> None:
        self.counts: dict[str, int] = {}
        self.last: dict[str, Any] = {}
        self._now_s, self._ceiling = now_s, ceiling
        self._monitor = FaultMonitor()
        self._all_s: deque[float] = deque()

    def report(self, error: RobotError) -> str:
        """Record a fault that stopped the robot.

        Returns:
            Why a person is needed; empty if the robot may be armed again after `wait_s`.
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
        """Record that an active fault is still present; does not count as a new one."""
        now_s = self._now_s()
        if error.code in self._monitor.active(now_s):
            self._monitor.report(error.code, now_s)

    def gone(self) -> None:
        """Record that all checks pass: the condition of every active fault is absent."""
        now_s = self._now_s()
        for code in self._monitor.active(now_s):
            self._monitor.gone(code, now_s)

    def wait_s(self) -> float:
        """Seconds until the robot may be armed; infinite if a fault needs a person."""
        return self._monitor.clears_in_s(self._now_s())

    def waiting_for(self) -> str:
        """Codes of the faults that have not cleared yet, for display."""
        return ", ".join(self._monitor.active(self._now_s()))

    def used(self) -> dict[str, dict[str, int]]:
        """`used` and `budget` in ten minutes, by code, of faults with a budget that occurred."""
        now_s, rule = self._now_s(), self._monitor.rule
        return {
            code: {"used": self._monitor.used(code, now_s), "budget": rule(code).per_10_min}
            for code in self.counts
            if rule(code).clears is Clears.AUTO_BUDGET
        }
