# SPDX-License-Identifier: MIT
"""Timing and faults of a board's run at a glance, for the view; summary.json has the details."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BoardStats:
    """Statistics of a board so far.

    Attributes:
        rate_hz: control rate that was achieved while the robot was driven.
        late_p99_ms: 99th percentile of the lateness of control periods.
        late_max_ms: lateness of the latest control period.
        skipped_periods: control periods that were missed altogether.
        telemetry_age_ms: 99th percentile of the age of a measurement when it was used.
        lost_frames: telemetry frames that were lost.
        link_losses: how often the link was lost.
        supervisor_cuts: how often the supervisor cut the torque.
        budgets: by fault code: faults in the last ten minutes, and how many may pass before a
            person is needed.
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
        """The statistics as one line of text."""
        return (
            f"{self.rate_hz:.1f} Hz  late p99 {self.late_p99_ms:.1f} max {self.late_max_ms:.1f} ms"
            f"  skipped {self.skipped_periods}  telemetry {self.telemetry_age_ms:.1f} ms old, "
            f"{self.lost_frames} lost  links lost {self.link_losses}  cuts {self.supervisor_cuts}"
            + (f"  {self.used_budgets()}" if self.budgets else "")
        )

    def used_budgets(self) -> str:
        """The fault budgets that are in use, as text; empty without any fault."""
        return ", ".join(f"{code} {used}/{of}" for code, (used, of) in self.budgets.items())
