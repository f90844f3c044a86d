# SPDX-License-Identifier: MIT
"""The reset between roll-outs: get on its feet by its own motors, pause, or give up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from walkhome.hardware.robot import NotFit, RobotError, Stop
from walkhome.robot.config.schema import Config
from walkhome.robot.config.sections import StandUpConfig
from walkhome.robot.control.behaviours import Resting, StandUpScript
from walkhome.robot.control.cycle import ControlCycle
from walkhome.robot.control.plant import CANNOT_STAND, Plant
from walkhome.safety.recovery.stand_up import StandUp

MAX_PAUSES = 3
"""Series of attempts before a person is needed; Ha et al. 2020 report 20 to 30 human resets per
run on soft ground."""


@dataclass(frozen=True)
class StandUpOutcome:
    """Result of getting up.

    Attributes:
        ok: the robot stands.
        attempts: scripts tried, over all series.
        gave_up: every series failed; a person is needed.
    """

    ok: bool
    attempts: int
    gave_up: bool = False

    @property
    def failed(self) -> int:
        """Attempts after which it did not stand."""
        return self.attempts - int(self.ok and self.attempts > 0)

    def check(self) -> None:
        """Raise the fault of a robot that gave up.

        Raises:
            NotFit: it gave up (`cannot_stand`).
        """
        if self.gave_up:
            raise NotFit(
                f"it does not get on its feet: {self.attempts} attempts failed; look what holds "
                "it, put it on its belly",
                CANNOT_STAND,
            )


class StandUpRoutine:
    """Runs the scripted stand-up: a series of attempts, a pause in which the motors cool, again.

    Args:
        cycle: runs the script.
        stand_up: attempts per series, and the pause between two series.
        seed: seed of the choice of scripts.
        teleport: set the robot on its feet instead, in no time; for the twin of an ablation.
        stopped: True ends it before the next command.
        make_ready: called before each series; False means that the robot takes no commands.
    """

    def __init__(
        self,
        cycle: ControlCycle,
        *,
        stand_up: StandUpConfig,
        seed: int,
        teleport: bool,
        stopped: Callable[[], bool],
        make_ready: Callable[[], bool],
    ) -> None:
        self._cycle, self._pause_s, self._teleport = cycle, stand_up.pause_s, teleport
        self._stopped, self._make_ready = stopped, make_ready
        self._rng = np.random.default_rng([seed, 2])
        self._script = StandUp(
            cycle.plant.robot.body, self._rng, max_attempts=stand_up.max_attempts
        )

    @classmethod
    def of(
        cls,
        config: Config,
        cycle: ControlCycle,
        stopped: Callable[[], bool] = lambda: False,
        make_ready: Callable[[], bool] | None = None,
    ) -> StandUpRoutine:
        """The routine of a configuration; `make_ready` is the plant's when None."""
        return cls(
            cycle,
            stand_up=config.stand_up,
            seed=config.run.seed,
            teleport=config.ablation.reset == "teleport",
            stopped=stopped,
            make_ready=make_ready or (lambda: cycle.plant.make_ready(stopped)),
        )

    def state_dict(self) -> dict[str, Any]:
        """What outlives a stand-up: the generator that chooses scripts."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._rng.bit_generator.state = state["rng"]

    def stand_up(self) -> StandUpOutcome:
        """Get on its feet.

        Raises:
            RobotError: see `hardware.robot.Robot`.
        """
        plant = self._cycle.plant
        if self._teleport:
            plant.carry(plant.pose.latest())
            return StandUpOutcome(True, 0)
        attempts = 0
        for series in range(MAX_PAUSES):
            if not self._make_ready():
                return StandUpOutcome(False, attempts)
            ok, tried = self._attempts()
            attempts += tried
            if ok or self._stopped():
                return StandUpOutcome(ok, attempts)
            if series < MAX_PAUSES - 1:
                self._pause()
        return StandUpOutcome(False, attempts, gave_up=True)

    def _attempts(self) -> tuple[bool, int]:
        ok = self._cycle.run(StandUpScript(self._script, self._stopped))
        return ok, self._script.attempts

    def _pause(self) -> None:
        plant = self._cycle.plant
        plant.robot.stop(Stop.SETTLE)
        periods = round(self._pause_s / plant.clock.period_s)
        self._cycle.run(Resting(periods, self._stopped), fresh=False)


def check_carriable(config: Config, plant: Plant) -> None:
    """Refuse keys of `ablation` that only a twin can fulfil.

    Raises:
        RobotError: the plant is a real robot.
    """
    if config.ablation.carries and not plant.carriable:
        raise RobotError("the keys of `ablation` are for the twin: take them out for a real robot")
