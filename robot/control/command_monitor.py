# SPDX-License-Identifier: MIT
"""What a real robot's host sees before each command, and must not drive on with.

    Actuator --> may_drive(state) --> command --> sent(command)

Rows `late` and `motor` of docs/safety.md; the rest is seen where it happens (the wire by
`hardware.serial.board`, an action by the limits). All verbs that move a robot command it through
one `robot.control.plant.Actuator`, so all of them are watched.
"""

from __future__ import annotations

from walkhome.hardware.robot import MotorCommand, NotFit, RobotState
from walkhome.hardware.timing import TooOften
from walkhome.robot.control.clock import Clock
from walkhome.safety.command.torque_tracking import Obedience
from walkhome.safety.supervisor.client import COMMAND_EVERY_S

LATE_SHARE = 0.5  # of what the supervisor bears beyond the space between two commands
LATE_AT_ONCE = 5  # periods
LATE_PER_GOOD = 0.1  # one in eleven may be late for ever


class DriveWatch:
    """Watches one robot.

    Args:
        clock: of the loop.
        gap_s: longest silence between two commands that the supervisor bears.
    """

    def __init__(self, clock: Clock, gap_s: float) -> None:
        self._clock = clock
        self._late_s = LATE_SHARE * (gap_s - min(clock.period_s, COMMAND_EVERY_S))
        self._lateness = TooOften(LATE_AT_ONCE, LATE_PER_GOOD)
        self._obedience = Obedience()

    def may_drive(self, state: RobotState) -> None:
        """Once a period, before its command.

        Args:
            state: the newest measurement.

        Raises:
            NotFit: it must not be driven on; it begins anew after that.
        """
        late = self._clock.late_s > self._late_s
        self._lateness.add(late, not late)
        motor = self._obedience.disobedient(state)
        if motor is None and not self._lateness.reached:
            return
        self._lateness.reset()
        self._obedience.reset()
        if motor is not None:
            raise NotFit(
                f"motor {motor} does not do what it is told: hardly any torque where much is asked "
                "for; check its cable, its driver and its encoder",
                "motor",
            )
        raise NotFit(
            f"the control loop is late again and again, by more than {1e3 * self._late_s:.0f} ms: "
            "the supervisor would cut the torque soon; give it a quieter machine or real-time "
            "priority (docs/safety.md)",
            "late",
        )

    def sent(self, command: MotorCommand) -> None:
        """What really went out."""
        self._obedience.sent(command)
