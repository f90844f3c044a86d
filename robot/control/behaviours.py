# SPDX-License-Identifier: MIT
"""Behaviours without a policy: the stand-up script, resting, holding a posture, easing into one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body
from walkhome.hardware.robot import RobotState
from walkhome.robot.control.period import Period, Phase
from walkhome.robot.control.target import Done, Rest, Target, Wish
from walkhome.safety.recovery.stand_up import StandUp

FloatArray = npt.NDArray[np.float64]

Stopped = Callable[[], bool]


class StandUpScript:
    """One series of scripted attempts; its `Done` says whether the robot stands.

    Args:
        script: the state machine; it keeps its generator over several series.
        stopped: True ends the script before its next command.
    """

    phase = Phase.STAND_UP

    def __init__(self, script: StandUp, stopped: Stopped) -> None:
        self._script, self._stopped = script, stopped

    def start(self, state: RobotState) -> None:
        """Begin from the measured posture."""
        self._script.reset(state)

    def step(self, state: RobotState, time_s: float) -> Target | Done:
        """The script's next target."""
        if self._stopped():
            return Done(False)
        command = self._script.step(state, time_s)
        if command.done or command.failed:
            return Done(command.done)
        return Target(command.motor_angle_rad, command.kp, command.kd, scripted=True)

    def check(self, period: Period) -> Period:
        """Return the period unchanged."""
        return period


class Resting:
    """Sends nothing for some time; the robot was settled before.

    Args:
        periods: how many.
        stopped: True ends it early.
    """

    phase = Phase.WAITING

    def __init__(self, periods: int, stopped: Stopped) -> None:
        self._left, self._stopped = periods, stopped

    def start(self, state: RobotState) -> None:
        """Do nothing: no preparation is needed."""

    def step(self, state: RobotState, time_s: float) -> Rest | Done:
        """Rest until the time is over."""
        if self._left == 0 or self._stopped():
            return Done()
        self._left -= 1
        return Rest()

    def check(self, period: Period) -> Period:
        """Return the period unchanged."""
        return period


class HoldingStance:
    """Holds the stance for some time.

    Args:
        body: stance and gains.
        seconds: how long.
        stopped: True ends it early.
    """

    phase = Phase.HOLDING

    def __init__(self, body: Body, seconds: float, stopped: Stopped) -> None:
        self._target = Target(body.stance_motor_rad(), body.kp, body.kd)
        self._seconds, self._stopped = seconds, stopped
        self._end_s: float | None = None

    def start(self, state: RobotState) -> None:
        """Do nothing: no preparation is needed."""

    def step(self, state: RobotState, time_s: float) -> Wish:
        """The stance, until the time is over."""
        if self._end_s is None:
            self._end_s = time_s + self._seconds
        if time_s >= self._end_s or self._stopped():
            return Done()
        return self._target

    def check(self, period: Period) -> Period:
        """Return the period unchanged."""
        return period


class EasingIn:
    """Moves from the measured posture to another one along a smooth curve.

    Its `Done` says whether it got there (False: it was stopped).

    Args:
        body: leg geometry, action ranges and gains.
        goal_rad: (8,) motor angles to reach, as far as the action ranges allow.
        periods: how many control periods it takes, at least two.
        stopped: True ends it early.
    """

    phase = Phase.REPLAYING

    def __init__(self, body: Body, goal_rad: FloatArray, periods: int, stopped: Stopped) -> None:
        self._body, self._stopped = body, stopped
        self._goal_rad = _within_actions(body, goal_rad)
        self._shares = list(np.linspace(0.0, 1.0, max(2, periods)))

    def start(self, state: RobotState) -> None:
        """Begin from the measured posture, as far as the action ranges allow."""
        self._begin_rad = _within_actions(self._body, state.motor_angle_rad)

    def step(self, state: RobotState, time_s: float) -> Target | Done:
        """The next point of the curve."""
        if not self._shares or self._stopped():
            return Done(not self._shares)
        share = self._shares.pop(0)
        smooth = share * share * (3.0 - 2.0 * share)
        angle_rad = self._begin_rad + smooth * (self._goal_rad - self._begin_rad)
        return Target(angle_rad, self._body.kp, self._body.kd)

    def check(self, period: Period) -> Period:
        """Return the period unchanged."""
        return period


def _within_actions(body: Body, angle_rad: FloatArray) -> FloatArray:
    """(8,) rad, the nearest posture that an action can ask for."""
    return body.action_to_motor(np.clip(body.motor_to_action(angle_rad), -1.0, 1.0))
