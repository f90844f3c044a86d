# SPDX-License-Identifier: MIT
"""Checks before each command that a robot in real time may be driven on.

It sees the rows `late` and `motor` of the fault table in docs/safety.md: a control loop that is
late too often, and a motor that does not follow its commands. Every command to a board goes through
`control.actuator.Actuator`, so every verb that moves a robot is monitored.
"""

from __future__ import annotations

from walkhome.hardware.robot import MotorCommand, NotFit, RobotState
from walkhome.hardware.timing import LeakyBucket
from walkhome.robot.control.clock import Clock
from walkhome.safety.command.torque_tracking import TorqueTrackingMonitor
from walkhome.safety.supervisor.client import COMMAND_EVERY_S

LATE_SHARE = 0.5
"""A period counts as late beyond this share of the supervisor's slack between two commands."""
LATE_AT_ONCE = 5
"""Late periods in a row that are a fault."""
LATE_PER_GOOD = 0.1
"""One late period in eleven is tolerated for ever."""


class CommandMonitor:
    """Monitors the commands to one robot.

    Args:
        clock: of the control loop.
        gap_s: longest time without a command that the supervisor tolerates.
    """

    def __init__(self, clock: Clock, gap_s: float) -> None:
        self._clock = clock
        self._late_s = LATE_SHARE * (gap_s - min(clock.period_s, COMMAND_EVERY_S))
        self._lateness = LeakyBucket(limit=LATE_AT_ONCE, leak=LATE_PER_GOOD)
        self._tracking = TorqueTrackingMonitor()

    def check(self, state: RobotState) -> None:
        """Check once per period, before its command.

        Args:
            state: the newest measurement.

        Raises:
            NotFit: the loop is late too often (`late`) or a motor gives hardly any torque
                (`motor`). The monitor starts anew after that.
        """
        late = self._clock.late_s > self._late_s
        self._lateness.add(bad=late, good=not late)
        motor = self._tracking.untracked(state)
        if motor is None and not self._lateness.reached:
            return
        self._lateness.reset()
        self._tracking.reset()
        if motor is not None:
            raise NotFit(
                f"motor {motor} does not produce the commanded torque: hardly any where much is "
                "asked for; check its cable, its driver and its encoder",
                "motor",
            )
        raise NotFit(
            f"the control loop is late again and again, by more than {1e3 * self._late_s:.0f} ms: "
            "the supervisor would cut the torque soon; give it a quieter machine or real-time "
            "priority (docs/safety.md)",
            "late",
        )

    def sent(self, command: MotorCommand) -> None:
        """Note the command that was sent."""
        self._tracking.sent(command)
