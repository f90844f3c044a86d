# SPDX-License-Identifier: MIT
"""A robot behind a serial port as a plant: in real time, armed before use, recoverable."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from walkhome.hardware.pose.guard import PoseGuard
from walkhome.hardware.robot import LinkLost, Pose2D, Robot, RobotError, RobotState
from walkhome.hardware.serial.board import SerialRobot
from walkhome.robot.board.arming import Arming
from walkhome.robot.config.schema import Config
from walkhome.robot.control.actuator import Actuator
from walkhome.robot.control.board_stats import BoardStats
from walkhome.robot.control.clock import WallClock
from walkhome.robot.control.command_monitor import CommandMonitor
from walkhome.robot.control.plant import Plant
from walkhome.safety.command.derating import TorqueDerating
from walkhome.safety.supervisor.client import silence_limit_s, validity_s

FIRST_STATE_TRIES = 4
"""How often to wait for a first measurement: what waited in the port's queue is too old."""


class BoardPlant(Plant):
    """A board's robot whose clock waits for nothing.

    Args:
        robot: the board.
        pose: its guarded pose source.
        clock: paces the control periods.
        config: body, rate and the longest time without a command.
        arming: gets the robot ready, and accounts for its faults.
    """

    lockstep = False
    cut_latches = True
    robot: SerialRobot

    def __init__(
        self, robot: SerialRobot, pose: PoseGuard, clock: WallClock, config: Config, arming: Arming
    ) -> None:
        actuator = monitored_actuator(robot, clock, config)
        super().__init__(robot, pose, clock, actuator, clock.trace)
        self.arming = arming

    def first_state(self) -> RobotState:
        """The first measurement that is not too old.

        Raises:
            LinkLost: none came.
        """
        for _ in range(FIRST_STATE_TRIES):
            with contextlib.suppress(LinkLost):
                return self.robot.read()
            with contextlib.suppress(LinkLost):
                self.robot.wait_for_state()
        return self.robot.read()

    def seconds_between(self, before: Pose2D, after: Pose2D) -> float:
        """Time between the poses' own time stamps; the control period where they have none."""
        passed_s = after.time_s - before.time_s
        return passed_s if passed_s > 0.0 else self.clock.period_s

    def make_ready(self, stopped: Callable[[], bool]) -> bool:
        """Wait until the robot is armed; see `Arming.ready`."""
        return self.arming.ready(stopped)

    def recover(self, error: RobotError) -> bool:
        """Account for a fault; see `Arming.fault`."""
        return self.arming.fault(error)

    def report_to(self, say: Callable[[str], None]) -> None:
        """Send what a person should know to `say`."""
        self.arming.say = say

    def fault_fields(self) -> dict[str, Any]:
        """Code, level and budget of the newest fault."""
        return self.arming.budget.last

    def summary(self) -> dict[str, Any]:
        """How the board did, as `board` of summary.json."""
        return {"board": self.arming.summary()}

    def stats(self) -> BoardStats:
        """Timing and faults at a glance."""
        return self.arming.stats()


def monitored_actuator(robot: Robot, clock: WallClock, config: Config) -> Actuator:
    """The path to a board's motors: monitored, with less torque for motors loaded too long."""
    body = robot.body
    patience_s = silence_limit_s(clock.period_s, config.board.command_gap_s)
    return Actuator(
        robot,
        clock.period_s,
        validity_s(clock.period_s, patience_s),
        CommandMonitor(clock, patience_s),
        TorqueDerating(body.overheat_torque_nm, body.overheat_s, body.torque_limit_nm),
    )
