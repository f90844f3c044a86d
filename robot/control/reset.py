# SPDX-License-Identifier: MIT
"""Between roll-outs: get the robot on its feet by its own motors, wait, or ask for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import N_MOTORS
from walkhome.hardware.robot import NotFit, Pose2D, RobotError, RobotState, Stop
from walkhome.robot.config.schema import Config
from walkhome.robot.control.plant import Actuator, Carriable, Rig
from walkhome.safety.recovery.stand_up import StandUp

FloatArray = npt.NDArray[np.float64]

MAX_PAUSES = 3  # then a person is needed (Ha 2020 had 20 to 30 of those on soft ground)


@dataclass(frozen=True)
class StandUpOutcome:
    """What came of getting up.

    Attributes:
        ok: it stands.
        attempts: scripts tried, over all pauses; none where nobody had to stand up.
        gave_up: it does not get on its feet, however often it tries.
    """

    ok: bool
    attempts: int
    gave_up: bool = False

    @property
    def failed(self) -> int:
        """Attempts after which it did not stand."""
        return self.attempts - int(self.ok and self.attempts > 0)

    @property
    def fault(self) -> NotFit:
        """What a robot that gave up says."""
        return NotFit(
            f"it does not get on its feet: {self.attempts} attempts failed; look what holds it, "
            "put it on its belly",
            "cannot_stand",
        )


class Resetter:
    """Runs the scripted stand-up on a rig.

    Args:
        config: attempts and pauses.
        rig: the robot.
        actuator: the gate to its motors.
        on_period: told every control period: `stand_up` or `waiting`, the state after it, and the
            (8,) motor angles that were sent.
        stopped: asked every control period.
        ready: asked before any command; False if there may be none.
        command_first: `on_period` takes its time, and is told of a period of the script after the
            command that follows it.
    """

    def __init__(
        self,
        config: Config,
        rig: Rig,
        actuator: Actuator,
        on_period: Callable[[str, RobotState, FloatArray], None] = lambda kind, state, sent: None,
        stopped: Callable[[], bool] = lambda: False,
        ready: Callable[[], bool] = lambda: True,
        command_first: bool = False,
    ) -> None:
        self._ready, self._command_first = ready, command_first
        self._config, self._rig, self._actuator = config, rig, actuator
        self._on_period, self._stopped = on_period, stopped
        self._rng = np.random.default_rng([config.run.seed, 2])
        self._script = StandUp(rig.robot.body, self._rng, max_attempts=config.stand_up.max_attempts)

    def state_dict(self) -> dict[str, Any]:
        """What outlives a stand-up: the generator that chooses scripts."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._rng.bit_generator.state = state["rng"]

    def stand_up(self) -> StandUpOutcome:
        """Attempts, then a pause in which the motors cool, then attempts again.

        Under `ablation.reset: teleport` the twin is set on its feet where it is, in no time.
        """
        if self._config.ablation.reset == "teleport":
            carry(self._rig, self._rig.pose.latest())
            return StandUpOutcome(True, 0)
        attempts = 0
        for pause in range(MAX_PAUSES):
            if not self._ready():
                return StandUpOutcome(False, attempts)
            ok, tried = self._attempts()
            attempts += tried
            if ok or self._stopped():
                return StandUpOutcome(ok, attempts)
            if pause < MAX_PAUSES - 1:
                self._wait(self._config.stand_up.pause_s)
        return StandUpOutcome(False, attempts, gave_up=True)

    def _attempts(self) -> tuple[bool, int]:
        state = self._rig.robot.read()
        self._script.reset(state)
        timeline, sent_rad = self._rig.timeline, None
        while not self._stopped():
            timeline.mark("script")
            command = self._script.step(state, self._rig.clock.now_s())
            before, before_rad = state, sent_rad
            try:
                if command.done or command.failed:
                    return command.done, self._script.attempts
                timeline.mark("command")
                sent_rad = self._actuator.script(
                    command.motor_angle_rad, command.kp, command.kd, state
                )
                timeline.sent()
            finally:
                if self._command_first and before_rad is not None:
                    self._on_period("stand_up", before, before_rad)
            timeline.mark("wait")
            self._rig.clock.tick()
            timeline.mark("read")
            state = self._rig.robot.read()
            if not self._command_first:
                self._on_period("stand_up", state, sent_rad)
        if self._command_first and sent_rad is not None:
            self._on_period("stand_up", state, sent_rad)
        return False, self._script.attempts

    def _wait(self, seconds: float) -> None:
        self._rig.robot.stop(Stop.SETTLE)
        for _ in range(round(seconds / self._rig.clock.period_s)):
            if self._stopped():
                return
            self._rig.clock.tick()
            self._on_period("waiting", self._rig.robot.read(), np.zeros(N_MOTORS))


def check_carriable(config: Config, rig: Rig) -> None:
    """Refuse a real robot under keys of `ablation` that nobody can fulfil there.

    Raises:
        RobotError: it is one.
    """
    if config.ablation.carries and not isinstance(rig.robot, Carriable):
        raise RobotError("the keys of `ablation` are for the twin: take them out for a real robot")


def carry(rig: Rig, pose: Pose2D) -> None:
    """Set an ablation's twin on its feet at `pose`.

    Raises:
        RobotError: only its motors may move this one.
    """
    assert isinstance(rig.robot, Carriable)  # see check_carriable
    rig.robot.carry(pose)
