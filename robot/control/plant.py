# SPDX-License-Identifier: MIT
"""A robot ready to be driven: what it is, where it is, how time passes, the gate for commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import (
    Implausible,
    LinkLost,
    MotorCommand,
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
from walkhome.robot.config.schema import Config
from walkhome.robot.control.board_stats import BoardFigures
from walkhome.robot.control.clock import Clock, TwinClock
from walkhome.robot.control.command_monitor import DriveWatch
from walkhome.robot.control.cycle_trace import Timeline
from walkhome.safety.command.action_filter import ActionFilter
from walkhome.safety.command.derating import Strain
from walkhome.safety.command.limits import CommandLimiter, UnsafeCommand, limit_torque
from walkhome.safety.faults.budget import FaultBudget
from walkhome.safety.supervisor.client import silence_limit_s, validity_s

FloatArray = npt.NDArray[np.float64]

# What a real robot may do at any time; it is caught, made ready again, and goes on.
ROBOT_FAULTS = (LinkLost, Implausible, RobotStopped, PoseLost, NotFit, UnsafeCommand, WrongRobot)


@runtime_checkable
class Restorable(Protocol):
    """A robot whose whole state can be saved: a twin, not a real one."""

    def state_dict(self) -> dict[str, Any]:
        """All that evolves, as JSON can hold it."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        ...


@runtime_checkable
class Carriable(Protocol):
    """A robot that can be set on its feet somewhere else: the twin of some ablations."""

    def carry(self, pose: Pose2D) -> None:
        """Set it down; raises RobotError where only its motors may move it."""
        ...


class Arming(Protocol):
    """Gets a real robot ready to be commanded; see `robot.board.arming`.

    Attributes:
        say: told what a person should know.
        budget: its faults, and what is left of their budgets.
    """

    say: Callable[[str], None]
    budget: FaultBudget

    def ready(self, stopped: Callable[[], bool]) -> bool:
        """Wait until it is armed; False when somebody said stop, or a person is needed."""
        ...

    def fault(self, error: RobotError) -> bool:
        """Note that it had to be caught; whether it may be armed again by itself."""
        ...

    def summary(self) -> dict[str, Any]:
        """How it did, for summary.json."""
        ...

    def figures(self) -> BoardFigures:
        """The same at a glance, for the view."""
        ...


@dataclass(frozen=True)
class Rig:
    """What the loop needs of the world; the same for the twin and for a board.

    Attributes:
        robot: is driven.
        pose: where it stands.
        clock: lets time pass.
        arming: makes it ready; None for a twin, which always is.
        timeline: what the control thread does when.
    """

    robot: Robot
    pose: PoseSource
    clock: Clock
    arming: Arming | None = None
    timeline: Timeline = field(default_factory=Timeline)

    @property
    def real_time(self) -> bool:
        """Whether time passes by itself."""
        return self.arming is not None

    def place(self) -> Pose2D:
        """Where the robot stands.

        Raises:
            PoseLost: nobody knows.
        """
        pose = self.pose.latest()
        if not pose.ok:
            raise PoseLost("the pose is lost; the robot waits for its pose source")
        return pose

    def seconds(self, before: Pose2D, after: Pose2D) -> float:
        """Time between two poses, for velocities: in real time they come when they come."""
        passed_s = after.time_s - before.time_s
        return passed_s if self.real_time and passed_s > 0.0 else self.clock.period_s


def make_twin(config: Config, seed: int, window: bool = False) -> Rig:
    """The PyBullet twin in lockstep, placed once: upright in the middle of the workspace.

    Args:
        config: terrain, physics, body and rate.
        seed: of the sensor noise.
        window: show it in PyBullet's window, which needs a display.

    Raises:
        ImportError: PyBullet is not installed.
        sim.terrain.TerrainError: PyBullet can't build the terrain.
    """
    # PyBullet takes a second to load and is an extra: only who wants the twin pays for it.
    from walkhome.sim.terrain import Terrain
    from walkhome.sim.twin import PyBulletRobot, TwinSettings

    twin = PyBulletRobot(
        Terrain(**config.terrain.model_dump()),
        TwinSettings(**config.sim.model_dump()),
        config.robot.to_body(),
        seed,
        window,
        carried=config.ablation.carries,
    )
    return Rig(twin, twin, TwinClock(twin, config.control.rate_hz))


class Actuator:
    """The only way to the motors: filter, leg space, limits, robot.

    Args:
        rig: whose robot is driven.
        config: filter, gains and rate.
    """

    def __init__(self, rig: Rig, config: Config) -> None:
        self._robot = rig.robot
        self._body = rig.robot.body
        filter_config = config.control.action_filter
        self._filter = ActionFilter(
            8, filter_config.order, filter_config.cutoff_hz, config.control.rate_hz
        )
        self._limiter = CommandLimiter(self._body, rig.clock.period_s)
        # A command outlives a late tick, not a dead host (docs: validity on the board).
        patience_s = silence_limit_s(rig.clock.period_s, config.board.command_gap_s)
        self._valid_s = validity_s(rig.clock.period_s, patience_s)
        self._watch = DriveWatch(rig.clock, patience_s) if rig.real_time else None
        body = rig.robot.body
        # A twin's motors come back by themselves; a board's fault would need the robot caught.
        self._strain = (
            Strain(body.overheat_torque_nm, body.overheat_s, body.torque_limit_nm)
            if rig.real_time
            else None
        )

    def start(self, state: RobotState) -> FloatArray:
        """Begin at the measured posture; returns it as the (8,) filtered action."""
        posture = np.clip(self._body.motor_to_action(state.motor_angle_rad), -1.0, 1.0)
        self._filter.reset(posture)
        self._limiter.reset(state.motor_angle_rad)
        return posture

    def act(self, action: FloatArray, state: RobotState) -> tuple[FloatArray, FloatArray]:
        """Send a policy's action.

        Args:
            action: (8,) in [-1, 1].
            state: newest measurement, for the torque estimate.

        Returns:
            The filtered action (8,) and the motor angles really sent (8,) rad.

        Raises:
            UnsafeCommand: the action is not finite; nothing was sent.
            NotFit: see `robot.control.command_monitor`; nothing was sent.
        """
        try:
            filtered = self._filter(action)
        except ValueError as error:
            raise UnsafeCommand(f"{error}; nothing was sent") from None
        target = self._body.action_to_motor(filtered)
        return filtered, self.pose(target, state, self._body.kp, self._body.kd)

    def pose(self, target_rad: FloatArray, state: RobotState, kp: float, kd: float) -> FloatArray:
        """Send motor angles (8,) rad through the limits; returns what was really sent."""
        safe, _ = self._limiter.limit(target_rad, state, kp, kd, self._caps_nm(state))
        return self._send(MotorCommand(safe, kp, kd, self._valid_s), state)

    def script(self, target_rad: FloatArray, kp: float, kd: float, state: RobotState) -> FloatArray:
        """Send a scripted posture; the script limits its own rate and range.

        Motors that strain are relieved here too.
        """
        if not np.isfinite(target_rad).all():
            raise UnsafeCommand(f"the script's target is not finite: {target_rad}")
        caps_nm = self._caps_nm(state)
        if caps_nm is not None:
            angle, velocity = state.motor_angle_rad, state.motor_velocity_rad_s
            weaker = limit_torque(target_rad, angle, velocity, kp, kd, caps_nm)
            strained = caps_nm < self._body.torque_limit_nm
            target_rad = np.where(strained, weaker, target_rad)
        return self._send(MotorCommand(target_rad, kp, kd, self._valid_s), state)

    def _send(self, command: MotorCommand, state: RobotState) -> FloatArray:
        if self._watch is None:
            return self._robot.command(command).angle_rad
        self._watch.may_drive(state)
        sent = self._robot.command(command)
        self._watch.sent(sent)
        return sent.angle_rad

    def _caps_nm(self, state: RobotState) -> FloatArray | None:
        if self._strain is None:
            return None
        return self._strain.caps(state.motor_torque_nm, state.time_s)
