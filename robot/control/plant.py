# SPDX-License-Identifier: MIT
"""The plant: a robot, its pose source, its clock and the path to its motors.

Two kinds exist: `TwinPlant` (`control.twin_plant`), PyBullet in lockstep, and `BoardPlant`
(`board.plant`), a robot behind a serial port in real time. `control.cycle` runs both alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from walkhome.hardware.robot import (
    Implausible,
    LinkLost,
    NotFit,
    Pose2D,
    PoseLost,
    PoseSource,
    Robot,
    RobotError,
    RobotState,
    RobotStopped,
)
from walkhome.hardware.serial.handshake import WrongRobot
from walkhome.robot.control.actuator import Actuator
from walkhome.robot.control.clock import Clock
from walkhome.robot.control.cycle_trace import CycleTrace
from walkhome.safety.command.limits import UnsafeCommand

if TYPE_CHECKING:
    from walkhome.robot.control.board_stats import BoardStats

ROBOT_FAULTS = (LinkLost, Implausible, RobotStopped, PoseLost, NotFit, UnsafeCommand, WrongRobot)
"""Errors of a real robot at run time. `ControlCycle.attempt` settles the robot and asks its plant
whether it may go on; every other error ends the program."""

CANNOT_STAND = "cannot_stand"
"""Code of the fault of a robot that does not get on its feet."""


class Plant(ABC):
    """A robot that is ready to be driven by a `ControlCycle`.

    Args:
        robot: is driven.
        pose: where it stands.
        clock: paces the control periods.
        actuator: the path to its motors.
        trace: what the control thread does when.
    """

    lockstep: bool
    """True: listeners see each period before the next command goes out, and a run is a function of
    its configuration. False, in real time: the next command goes out first."""

    cut_latches: bool
    """Whether a cut of the torque stays until a person releases it."""

    def __init__(
        self,
        robot: Robot,
        pose: PoseSource,
        clock: Clock,
        actuator: Actuator,
        trace: CycleTrace | None = None,
    ) -> None:
        self.robot, self.pose, self.clock, self.actuator = robot, pose, clock, actuator
        self.trace = trace or CycleTrace()

    def place(self) -> Pose2D:
        """The robot's pose on the floor, world frame.

        Raises:
            PoseLost: the pose source has no valid pose.
        """
        return valid(self.pose.latest())

    def first_state(self) -> RobotState:
        """Read the first measurement; a real robot may have to wait for it.

        Raises:
            LinkLost: no measurement came.
        """
        return self.robot.read()

    @abstractmethod
    def seconds_between(self, before: Pose2D, after: Pose2D) -> float:
        """Time between two poses one control period apart, s, for velocities."""

    @abstractmethod
    def make_ready(self, stopped: Callable[[], bool]) -> bool:
        """Wait until the robot takes commands.

        Args:
            stopped: asked again and again; True ends the wait.

        Returns:
            False if the wait was stopped, or a person is needed (which the plant has reported).

        Raises:
            RobotError: the robot must not be armed at all.
        """

    @abstractmethod
    def recover(self, error: RobotError) -> bool:
        """Account for a fault; the robot was settled already.

        Returns:
            Whether the robot may be made ready again without a person.

        Raises:
            RobotError: the error itself, where it is not a fault that can pass.
        """

    @property
    def carriable(self) -> bool:
        """Whether the robot can be set down elsewhere, as some ablations ask."""
        return False

    def carry(self, pose: Pose2D) -> None:
        """Set the robot on its feet at a pose: for the twin of some ablations.

        Raises:
            RobotError: only its motors may move this one.
        """
        del pose
        raise RobotError("only the twin can be set down elsewhere; this robot moves by its motors")

    def state_dict(self) -> dict[str, Any] | None:
        """The robot's whole state, in types that JSON has; None where that can't be saved."""
        return None

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Continue from `state_dict`; does nothing where it can't be restored."""
        del state

    def report_to(self, say: Callable[[str], None]) -> None:
        """Send messages for people (waiting for what, a person is needed) to `say`."""
        del say

    def fault_fields(self) -> dict[str, Any]:
        """Facts about the newest fault, for the event log; empty if there are none."""
        return {}

    def summary(self) -> dict[str, Any]:
        """What summary.json adds for this plant."""
        return {}

    def stats(self) -> BoardStats | None:
        """Timing and faults at a glance, for the view; None if there are none."""
        return None


def valid(pose: Pose2D) -> Pose2D:
    """Return a pose unchanged if it is valid.

    Raises:
        PoseLost: the pose is not valid.
    """
    if not pose.ok:
        raise PoseLost("the pose is lost; the robot waits for its pose source")
    return pose
