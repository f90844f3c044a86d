# SPDX-License-Identifier: MIT
"""The control cycle: the only place that knows what a control period is.

    command --> wait --> read --> check --> tell

A `Behaviour` chooses the command (stand up, roll out a policy, be driven, replay, hold, rest); the
listeners get each `Period`: learner, journal, view, film, screen. The order of command and
tell depends on the plant alone:

    lockstep (twin)     command k, wait, read, check, tell k, command k+1, ...
    real time (board)   command k, wait, read, check, command k+1, tell k, wait, ...

In lockstep the learner has each transition before the policy acts again, so a run is a function of
its configuration. On a robot the next command never waits for bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import N_MOTORS
from walkhome.hardware.robot import RobotError, RobotState, Stop
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.config.sections import EpisodeConfig
from walkhome.robot.control.period import Period, PeriodListener, Phase
from walkhome.robot.control.plant import ROBOT_FAULTS, Plant
from walkhome.robot.control.target import Done, Rest, Target, Wish
from walkhome.safety.attitude import is_fallen

FloatArray = npt.NDArray[np.float64]
T = TypeVar("T")

_NOTHING_SENT = np.zeros(N_MOTORS)
_NOTHING_SENT.flags.writeable = False


class Behaviour(Protocol):
    """Chooses the command of each control period.

    Attributes:
        phase: what its periods are logged as.
    """

    phase: Phase

    def start(self, state: RobotState) -> None:
        """Begin at the measured state; called once, before the first `step`."""
        ...

    def step(self, state: RobotState, time_s: float) -> Wish:
        """Choose what to send now.

        Args:
            state: the newest measurement.
            time_s: monotonic time of the plant's clock.

        Returns:
            A target, rest, or the end of the behaviour.
        """
        ...

    def check(self, period: Period) -> Period:
        """Look at a period that has passed, and return it, completed if need be.

        A behaviour that ends because of it says so at its next `step`.
        """
        ...


@dataclass(frozen=True, slots=True)
class HandledFault:
    """A fault of the robot that `ControlCycle.attempt` has handled.

    Attributes:
        error: what happened.
        may_go_on: whether the robot may be made ready again without a person.
        trace: what the control thread did just before; see `CycleTrace.story`.
    """

    error: RobotError
    may_go_on: bool
    trace: list[dict[str, Any]]


class ControlCycle:
    """Runs behaviours on a plant, one control period after the other.

    Args:
        plant: the robot, its pose, its clock and the path to its motors.
        episode: attitude limits of a fall.
        listener: told of every period.
        on_fault: told of a fault after the robot was settled and before the plant accounts for it.

    Attributes:
        plant: as given.
        state: the newest measurement; None before the first one.
    """

    def __init__(
        self,
        plant: Plant,
        episode: EpisodeConfig,
        listener: PeriodListener = lambda period: None,
        on_fault: Callable[[RobotError, list[dict[str, Any]]], None] = lambda error, trace: None,
    ) -> None:
        self.plant = plant
        self.state: RobotState | None = None
        self._limits = {
            "roll_limit_rad": episode.fall_roll_rad,
            "pitch_limit_rad": episode.fall_pitch_rad,
        }
        self._listener, self._on_fault = listener, on_fault
        self._behaviour: Behaviour | None = None
        self._pose = plant.pose.latest()
        self._untold: Period | None = None

    def run(self, behaviour: Behaviour, fresh: bool = True) -> Any:
        """Run a behaviour to its end.

        Args:
            behaviour: chooses the commands.
            fresh: read the robot first; else the newest measurement is good enough.

        Returns:
            The outcome of its `Done`.

        Raises:
            RobotError: see `hardware.robot.Robot`; run inside `attempt` to have it handled.
        """
        self.start(behaviour, fresh)
        while (done := self.advance()) is None:
            pass
        return done.outcome

    def start(self, behaviour: Behaviour, fresh: bool = True) -> None:
        """Begin a behaviour that the caller advances; see `run`."""
        plant = self.plant
        plant.trace.mark("start")
        if fresh or self.state is None:
            self.state = plant.robot.read()
        self._pose = plant.pose.latest()
        plant.actuator.reset(self.state)
        self._behaviour, self._untold = behaviour, None
        behaviour.start(self.state)

    def advance(self) -> Done | None:
        """Run one control period of the behaviour that was started.

        Returns:
            The end of the behaviour, in which case no period has passed; else None.
        """
        assert self._behaviour is not None, "start() comes first"
        assert self.state is not None, "start() reads the state"
        plant, trace, behaviour, before = self.plant, self.plant.trace, self._behaviour, self.state
        sent_rad = _NOTHING_SENT
        trace.mark("behaviour")
        try:
            wish = behaviour.step(before, plant.clock.now_s())
            if isinstance(wish, Target):
                trace.mark("command")
                sent_rad = plant.actuator.send(wish, before)
                trace.sent()
        finally:  # listeners get a complete period also when the next command fails
            self._tell()
        if isinstance(wish, Done):
            return wish
        trace.mark("wait")
        plant.clock.tick()
        trace.mark("read")
        self.state = self._read(before, wish)
        trace.mark("check")
        period = self._period(behaviour.phase, before, wish, sent_rad)
        self._untold = behaviour.check(period)
        if plant.lockstep:
            self._tell()
        return None

    def attempt(self, action: Callable[[], T]) -> T | HandledFault:
        """Run `action`; a fault of the robot settles it and is returned.

        This is the only handler of `ROBOT_FAULTS`: the robot is let down first, then the fault is
        reported, then the plant decides whether it may go on.

        Raises:
            RobotError: a fault that can't pass, as every fault of the twin.
        """
        try:
            return action()
        except ROBOT_FAULTS as error:
            trace = self.plant.trace.story()  # before the stop adds to it
            self.plant.robot.stop(Stop.SETTLE)
            self._on_fault(error, trace)
            return HandledFault(error, self.plant.recover(error), trace)

    def _read(self, before: RobotState, wish: Wish) -> RobotState:
        if not (isinstance(wish, Rest) and wish.blind):
            return self.plant.robot.read()
        try:
            return self.plant.robot.read()
        except ROBOT_FAULTS:
            return before

    def _period(self, phase: Phase, before: RobotState, wish: Wish, sent_rad: FloatArray) -> Period:
        state, pose_before = self.state, self._pose
        assert state is not None, "advance() has just read it"
        self._pose = pose = self.plant.pose.latest()
        roll_rad, pitch_rad, _ = roll_pitch_yaw(state.attitude_xyzw)
        return Period(
            phase=phase,
            elapsed_s=self.plant.clock.elapsed_s,
            state_before=before,
            state=state,
            pose_before=pose_before,
            pose=pose,
            target=wish if isinstance(wish, Target) else None,
            sent_rad=sent_rad,
            roll_rad=roll_rad,
            pitch_rad=pitch_rad,
            fell=is_fallen(roll_rad=roll_rad, pitch_rad=pitch_rad, **self._limits),
        )

    def _tell(self) -> None:
        if self._untold is not None:
            period, self._untold = self._untold, None
            self._listener(period)
