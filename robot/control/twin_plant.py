# SPDX-License-Identifier: MIT
"""The PyBullet twin as a plant: in lockstep, always ready, restorable, in ablations carriable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from walkhome.hardware.robot import Pose2D, PoseSource, Robot, RobotError
from walkhome.robot.config.schema import Config
from walkhome.robot.control.actuator import Actuator
from walkhome.robot.control.clock import Clock, TwinClock
from walkhome.robot.control.plant import CANNOT_STAND, Plant
from walkhome.safety.supervisor.client import silence_limit_s, validity_s

if TYPE_CHECKING:
    from walkhome.sim.twin import PyBulletRobot


@runtime_checkable
class Restorable(Protocol):
    """A robot whose whole state can be saved."""

    def state_dict(self) -> dict[str, Any]:
        """All that evolves, in types that JSON has."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        ...


@runtime_checkable
class Carriable(Protocol):
    """A robot that can be set on its feet somewhere else."""

    def carry(self, pose: Pose2D) -> None:
        """Set it down at a pose; raises RobotError where only its motors may move it."""
        ...


class TwinPlant(Plant):
    """A simulated robot whose clock waits for the learner.

    Args:
        robot: the twin.
        pose: its true pose.
        clock: advances its physics.
        command_gap_s: `board.command_gap_s`, for the validity of commands.
    """

    lockstep = True
    cut_latches = False

    def __init__(self, robot: Robot, pose: PoseSource, clock: Clock, command_gap_s: float) -> None:
        patience_s = silence_limit_s(clock.period_s, command_gap_s)
        valid_s = validity_s(clock.period_s, patience_s)
        super().__init__(robot, pose, clock, Actuator(robot, clock.period_s, valid_s))

    def seconds_between(self, before: Pose2D, after: Pose2D) -> float:
        """The control period: the twin's poses are exactly one period apart."""
        del before, after
        return self.clock.period_s

    @property
    def carriable(self) -> bool:
        """Whether the twin can be set down elsewhere."""
        return isinstance(self.robot, Carriable)

    def carry(self, pose: Pose2D) -> None:
        """Set the twin on its feet at a pose.

        Raises:
            RobotError: this twin moves only by its motors.
        """
        if not isinstance(self.robot, Carriable):
            super().carry(pose)
        else:
            self.robot.carry(pose)

    def state_dict(self) -> dict[str, Any] | None:
        """The twin's state, physics included."""
        return self.robot.state_dict() if isinstance(self.robot, Restorable) else None

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Restore what `state_dict` returned."""
        if isinstance(self.robot, Restorable) and state is not None:
            self.robot.load_state_dict(state)

    def make_ready(self, stopped: Callable[[], bool]) -> bool:
        """Return True at once: a twin is always ready."""
        del stopped
        return True

    def recover(self, error: RobotError) -> bool:
        """False for a twin that can't stand up, which needs a person.

        Raises:
            RobotError: any other error; a twin has no faults that pass.
        """
        if error.code == CANNOT_STAND:
            return False
        raise error


def make_twin(config: Config, seed: int, window: bool = False) -> TwinPlant:
    """The PyBullet twin in lockstep, put down once: upright in the middle of the workspace.

    Args:
        config: terrain, physics, body and control rate.
        seed: seed of the sensor noise.
        window: show it in PyBullet's window, which needs a display.

    Raises:
        ImportError: PyBullet is not installed.
        sim.terrain.TerrainError: PyBullet can't build the terrain.
    """
    twin = make_twin_robot(config, seed, window)
    clock = TwinClock(twin, config.control.rate_hz)
    return TwinPlant(twin, twin, clock, config.board.command_gap_s)


def make_twin_robot(config: Config, seed: int, window: bool = False) -> PyBulletRobot:
    """The twin alone; see `make_twin`."""
    # PyBullet takes a second to load and is an extra: only the verbs that simulate import it.
    from walkhome.sim.terrain import Terrain
    from walkhome.sim.twin import PyBulletRobot, TwinSettings

    return PyBulletRobot(
        Terrain(**config.terrain.model_dump()),
        TwinSettings(**config.sim.model_dump()),
        config.robot.to_body(),
        seed,
        window,
        carried=config.ablation.carries,
    )
