# SPDX-License-Identifier: MIT
"""The fault matrix: how hard to stop, and how each fault is cleared. Pure; time is passed in.

    report(code) / gone(code) / clear(code) --> level: the most severe fault that is not cleared

A fault clears once its condition has been absent for a while (AUTO), the same within a budget and
with growing pauses (AUTO_BUDGET), by a person (OPERATOR), or not in this process (NEVER). A spent
budget needs a person. Clearing does not move the robot: it must be armed again, with all checks.
docs/safety.md has the same table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

GONE_S = 2.0
"""A condition must be absent for this long; an intermittent one stays the same fault."""
BUDGET_10_MIN, BUDGET_24_H = 3, 20
TEN_MINUTES_S, _DAY_S = 600.0, 86_400.0
PAUSE_FIRST_S, PAUSE_LONGEST_S = 2.0, 60.0
COOL_S = 10.0
"""First pause after an overheated motor: the winding has cooled to the case by then."""


class Level(IntEnum):
    """How hard to stop; the larger number wins."""

    NONE = 0
    PAUSE = 1
    """Hold still with torque; continue when the fault has cleared."""
    SETTLE = 2
    """Sit down with damping, then no torque (IEC 60204-1 category 1)."""
    CUT = 3
    """No torque at once (IEC 60204-1 category 0)."""


class Clears(Enum):
    """How a fault is cleared."""

    AUTO = "auto"
    AUTO_BUDGET = "auto within a budget"
    OPERATOR = "operator"
    NEVER = "never"


@dataclass(frozen=True)
class Rule:
    """One row of the fault matrix.

    Attributes:
        level: how hard to stop.
        clears: how the fault is cleared.
        text: description for people.
        per_10_min: AUTO_BUDGET: faults allowed in ten minutes; one more needs a person.
        per_24_h: AUTO_BUDGET: faults allowed in a day; one more needs a person.
        pause_s: AUTO_BUDGET: pause after the first fault; it doubles with each further one, up to
            `PAUSE_LONGEST_S`.
    """

    level: Level
    clears: Clears
    text: str
    per_10_min: int = BUDGET_10_MIN
    per_24_h: int = BUDGET_24_H
    pause_s: float = PAUSE_FIRST_S


FAULTS: Mapping[str, Rule] = {
    "estop": Rule(Level.CUT, Clears.OPERATOR, "emergency stop; clear with: robot estop --clear"),
    "control_silent": Rule(
        Level.CUT, Clears.AUTO_BUDGET, "no command for too long: the supervisor cut the torque"
    ),
    "board_reboot": Rule(Level.CUT, Clears.AUTO_BUDGET, "the board restarted"),
    "wrong_robot": Rule(
        Level.CUT, Clears.OPERATOR, "the board of another robot, or with another zero table"
    ),
    "unsafe_limits": Rule(Level.CUT, Clears.NEVER, "limits looser than the board's"),
    "supervisor_lost": Rule(Level.SETTLE, Clears.AUTO_BUDGET, "the supervisor process is gone"),
    "link_lost": Rule(Level.SETTLE, Clears.AUTO_BUDGET, "no new state: the board is silent"),
    "link_damaged": Rule(Level.SETTLE, Clears.AUTO_BUDGET, "too many damaged frames"),
    "implausible": Rule(Level.SETTLE, Clears.AUTO_BUDGET, "implausible readings"),
    "late": Rule(Level.SETTLE, Clears.AUTO_BUDGET, "the control loop is late repeatedly"),
    "bad_action": Rule(Level.SETTLE, Clears.AUTO_BUDGET, "an action is not finite"),
    "board_timeout": Rule(Level.SETTLE, Clears.AUTO_BUDGET, "the board missed commands"),
    "overheat": Rule(
        Level.SETTLE,
        Clears.AUTO_BUDGET,
        "the board switched off an overheated motor",
        pause_s=COOL_S,
    ),
    "imu": Rule(Level.SETTLE, Clears.OPERATOR, "the IMU failed"),
    "battery": Rule(Level.SETTLE, Clears.OPERATOR, "the battery is empty"),
    "motor": Rule(Level.SETTLE, Clears.OPERATOR, "a motor does not produce the commanded torque"),
    "cannot_stand": Rule(Level.SETTLE, Clears.OPERATOR, "the robot can't stand up"),
    "pose_lost": Rule(Level.PAUSE, Clears.AUTO, "the robot's pose is unknown"),
}
"""The fault matrix."""

_UNKNOWN = Rule(Level.CUT, Clears.OPERATOR, "unknown fault code")


@dataclass
class _Fault:
    """State and history of one fault code."""

    there: bool = False
    gone_since_s: float = -math.inf
    cleared: bool = True
    needs_person: bool = False
    times_s: list[float] = field(default_factory=list)


class FaultMonitor:
    """Tracks all faults of one robot against the fault matrix.

    Args:
        rules: rows by fault code; a code without a row cuts the torque and needs a person.
    """

    def __init__(self, rules: Mapping[str, Rule] = FAULTS) -> None:
        self._rules = rules
        self._faults: dict[str, _Fault] = {}

    def rule(self, code: str) -> Rule:
        """The row of a fault code; a CUT that needs a person for an unknown one."""
        return self._rules.get(code, _UNKNOWN)

    def report(self, code: str, now_s: float) -> None:
        """Record that a fault's condition is present; repeated reports change nothing.

        Args:
            code: fault code.
            now_s: monotonic time.

        Raises:
            ValueError: the time is not finite.
        """
        self._advance(now_s)
        fault = self._faults.setdefault(code, _Fault())
        if fault.there:
            return
        fault.there = True
        if not fault.cleared:
            return  # intermittent: still the same fault
        fault.cleared = False
        fault.times_s = [t for t in fault.times_s if now_s - t < _DAY_S] + [now_s]
        rule = self.rule(code)
        clears = rule.clears
        spent = self._recent(fault, now_s) > rule.per_10_min or len(fault.times_s) > rule.per_24_h
        fault.needs_person = clears is Clears.OPERATOR or (clears is Clears.AUTO_BUDGET and spent)

    def gone(self, code: str, now_s: float) -> None:
        """Record that a fault's condition is absent; the fault clears by its own rule."""
        self._advance(now_s)
        fault = self._faults.get(code)
        if fault is not None and fault.there:
            fault.there, fault.gone_since_s = False, now_s

    def clear(self, code: str, now_s: float) -> str:
        """Clear a fault on behalf of a person.

        Returns:
            Why it can't be cleared; empty if it is cleared.
        """
        self._advance(now_s)
        fault = self._faults.get(code)
        if fault is None or fault.cleared:
            return ""
        if fault.there:
            return f"{code}: still present ({self.rule(code).text})"
        if self.rule(code).clears is Clears.NEVER:
            return f"{code}: only a new start clears it ({self.rule(code).text})"
        fault.cleared, fault.times_s = True, []
        return ""

    def level(self, now_s: float) -> Level:
        """The level of the most severe fault that is not cleared."""
        return max((self.rule(code).level for code in self.active(now_s)), default=Level.NONE)

    def active(self, now_s: float) -> tuple[str, ...]:
        """Codes of all faults that are not cleared, most severe first."""
        self._advance(now_s)
        codes = [code for code, fault in self._faults.items() if not fault.cleared]
        return tuple(sorted(codes, key=lambda code: (-self.rule(code).level, code)))

    def needs_person(self, now_s: float) -> tuple[str, ...]:
        """Codes of the active faults that do not clear with time."""
        never = Clears.NEVER
        return tuple(
            code
            for code in self.active(now_s)
            if self._faults[code].needs_person or self.rule(code).clears is never
        )

    def used(self, code: str, now_s: float) -> int:
        """How often a fault occurred in the last ten minutes."""
        fault = self._faults.get(code)
        return 0 if fault is None else self._recent(fault, now_s)

    def why_person(self, code: str, now_s: float) -> str:
        """Why a fault needs a person, as a message."""
        rule = self.rule(code)
        if rule.clears is not Clears.AUTO_BUDGET:
            return rule.text
        used = self.used(code, now_s)
        if used > rule.per_10_min:
            return f"{rule.text}; {used} in 10 min (limit {rule.per_10_min})"
        return f"{rule.text}; more than {rule.per_24_h} in a day"

    def clears_in_s(self, now_s: float) -> float:
        """Seconds until all faults have cleared.

        Infinite while a condition is present, or if a fault needs a person.

        Raises:
            ValueError: the time is not finite.
        """
        waits = [self._wait_s(code, now_s) for code in self.active(now_s)]
        return max(waits, default=0.0)

    def _advance(self, now_s: float) -> None:
        if not math.isfinite(now_s):
            raise ValueError(f"the time is {now_s}")
        for code, fault in self._faults.items():
            if not fault.cleared and self._wait_s(code, now_s) <= 0.0:
                fault.cleared = True

    def _wait_s(self, code: str, now_s: float) -> float:
        fault, rule = self._faults[code], self.rule(code)
        clears = rule.clears
        if fault.there or fault.needs_person or clears is Clears.NEVER:
            return math.inf
        pause_s = GONE_S
        if clears is Clears.AUTO_BUDGET:
            times = max(1, self._recent(fault, now_s))
            pause_s = min(rule.pause_s * 2.0 ** (times - 1), PAUSE_LONGEST_S)
        return max(pause_s, GONE_S) - (now_s - fault.gone_since_s)

    @staticmethod
    def _recent(fault: _Fault, now_s: float) -> int:
        return sum(now_s - t < TEN_MINUTES_S for t in fault.times_s)
