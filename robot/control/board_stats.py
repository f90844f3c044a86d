# SPDX-License-Identifier: MIT
"""How a board's run keeps time, at a glance: for the view; summary.json has all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BoardStats:
    """A board so far.

    Attributes:
        rate_hz: achieved, while it was driven.
        late_p99_ms: of the ticks.
        late_max_ms: the latest tick.
        skipped_periods: that were missed altogether.
        telemetry_age_ms: of the newest state when it was used, 99 %.
        lost_frames: of telemetry.
        link_losses: times that the link was lost.
        supervisor_cuts: times that the supervisor cut the torque.
        budgets: by fault: times in ten minutes, and how many may pass without a person.
    """

    rate_hz: float
    late_p99_ms: float
    late_max_ms: float
    skipped_periods: int
    telemetry_age_ms: float
    lost_frames: int
    link_losses: int
    supervisor_cuts: int
    budgets: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def line(self) -> str:
        """In one line."""
        return (
            f"{self.rate_hz:.1f} Hz  late p99 {self.late_p99_ms:.1f} max {self.late_max_ms:.1f} ms"
            f"  skipped {self.skipped_periods}  telemetry {self.telemetry_age_ms:.1f} ms old, "
            f"{self.lost_frames} lost  links lost {self.link_losses}  cuts {self.supervisor_cuts}"
            + (f"  {self.spent()}" if self.budgets else "")
        )

    def spent(self) -> str:
        """What of the faults' budgets is used up; empty without any fault."""
        return ", ".join(f"{code} {used}/{of}" for code, (used, of) in self.budgets.items())
