# SPDX-License-Identifier: MIT
"""The plant of a robot behind a serial port: real time, armed before use, recovers from faults.

The wall clock paces it: the next command goes out before listeners see the last period. `Arming`
makes the robot ready and decides after a fault whether it may be armed again.
"""

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
"""Attempts to get a first measurement; those that waited in the port's queue are too old."""


class BoardPlant(Plant):
    """A robot behind a serial port; see `Plant`.

    Args:
        robot: the robot behind an open port.
        pose: its guarded pose source.
        clock: paces the control periods.
        config: body, rate and the longest time without a command.
        arming: makes the robot ready, and accounts for its faults.

    Attributes:
        arming: as given.
    """

    lockstep = False
    cut_latches = True
    robot: SerialRobot
    pose: PoseGuard
    clock: WallClock

    def __init__(
        self, robot: SerialRobot, pose: PoseGuard, clock: WallClock, config: Config, arming: Arming
    ) -> None:
        actuator = monitored_actuator(robot, clock, config)
        super().__init__(robot, pose, clock, actuator, clock.trace)
        self.arming = arming

    def first_state(self) -> RobotState:
        """Wait for the first measurement that is not too old.

        Raises:
            LinkLost: none arrived.
        """
        for _ in range(FIRST_STATE_TRIES):
            with contextlib.suppress(LinkLost):
                return self.robot.read()
            with contextlib.suppress(LinkLost):
                self.robot.wait_for_state()
        return self.robot.read()

    def seconds_between(self, before: Pose2D, after: Pose2D) -> float:
        """Seconds between the poses' time stamps, or the control period if they do not differ."""
        passed_s = after.time_s - before.time_s
        return passed_s if passed_s > 0.0 else self.clock.period_s

    def make_ready(self, stopped: Callable[[], bool]) -> bool:
        """Wait until the robot is armed; see `Arming.ready`.

        Raises:
            WrongRobot: another robot is on the port now.
            NotFit: the board's limits are stricter now than what would be asked of it.
        """
        return self.arming.ready(stopped)

    def recover(self, error: RobotError) -> bool:
        """Account for a fault; see `Arming.fault`.

        Returns:
            Whether the robot may be armed again without a person.
        """
        return self.arming.fault(error)

    def report_to(self, say: Callable[[str], None]) -> None:
        """Send messages for people to `say`."""
        self.arming.say = say

    def fault_fields(self) -> dict[str, Any]:
        """Return code, level and budget of the newest fault; empty if there was none."""
        return self.arming.budget.last

    def summary(self) -> dict[str, Any]:
        """Return timing, telemetry and faults: the entry `board` of summary.json."""
        robot, clock = self.robot, self.clock
        histogram = [
            {"from_ms": 1e3 * low, "to_ms": 1e3 * high, "ticks": count}
            for low, high, count in clock.lateness.rows()
        ]
        board = {
            "robot_id": robot.identity.robot_id,
            **self.arming.summary(),
            "reconnects": robot.reconnects,
            "round_trip_ms": 1e3 * robot.round_trip_s,
            "telemetry": robot.counts(),
            "poses_refused": dict(self.pose.refusals),
            "achieved_hz": clock.achieved_hz,
            "skipped_periods": clock.skipped,
            "lateness": clock.lateness.summary(),
            "lateness_histogram": histogram,
            "telemetry_age": robot.ages.summary(),
            "state_to_command": robot.latencies.summary(),
            "longest_silences": clock.trace.worst,
        }
        return {"board": board}

    def stats(self) -> BoardStats:
        """Return timing and faults in brief, for the view."""
        clock, ages, budget = self.clock, self.robot.ages, self.arming.budget
        return BoardStats(
            rate_hz=clock.achieved_hz,
            late_p99_ms=1e3 * clock.lateness.quantile(0.99),
            late_max_ms=1e3 * clock.lateness.worst_s,
            skipped_periods=clock.skipped,
            telemetry_age_ms=1e3 * ages.quantile(0.99),
            lost_frames=self.robot.counts()["lost"],
            link_losses=budget.counts.get("link_lost", 0),
            budgets={code: (one["used"], one["budget"]) for code, one in budget.used().items()},
            supervisor_cuts=self.arming.supervisor_cuts,
        )


def monitored_actuator(robot: Robot, clock: WallClock, config: Config) -> Actuator:
    """Make the path to a board's motors.

    A monitor checks before each command that the loop keeps time and the motors follow. A motor
    that was loaded too long gets less torque, since the board would switch it off otherwise.

    Args:
        robot: receives the commands.
        clock: paces the control periods.
        config: the longest time without a command.
    """
    body = robot.body
    patience_s = silence_limit_s(clock.period_s, config.board.command_gap_s)
    return Actuator(
        robot,
        clock.period_s,
        validity_s(clock.period_s, patience_s),
        CommandMonitor(clock, patience_s),
        TorqueDerating(body.overheat_torque_nm, body.overheat_s, body.torque_limit_nm),
    )
