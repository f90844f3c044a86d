# SPDX-License-Identifier: MIT
"""`robot replay --on-robot`: repeats the actions of a recorded episode on a real robot.

    arm --> stand up --> ease into the first posture --> the journal's actions --> settle

The replay is open loop: nothing that the robot measures changes the actions. They pass the same
filter and limits as when they were recorded. A fall, a fault or a stop request settles the robot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import RobotState, Stop
from walkhome.robot.board.session import board_in_use
from walkhome.robot.board.stand_up import cycle_for, get_up
from walkhome.robot.config.schema import Config
from walkhome.robot.control.actuator import ActionPath
from walkhome.robot.control.behaviours import EasingIn
from walkhome.robot.control.cycle import ControlCycle, HandledFault
from walkhome.robot.control.period import Period, Phase
from walkhome.robot.control.target import Done, Target
from walkhome.robot.storage.journal import FLAG_START, PHASE_EPISODE
from walkhome.robot.storage.recorded_episodes import Episode
from walkhome.robot.storage.run_folder import RunError

FloatArray = npt.NDArray[np.float64]

EASE_IN_S = 1.0
"""Time to move from the stance to the first recorded posture."""


@dataclass(frozen=True)
class RecordedActions:
    """The actions of a recorded episode.

    Attributes:
        first_rad: (8,) motor angles in which the episode began, rad.
        actions: (n, 8) the policy's actions, one per control period.
    """

    first_rad: FloatArray
    actions: FloatArray


def actions_of(episode: Episode) -> RecordedActions:
    """Return the actions of an episode, provided that the journal has all of them.

    Args:
        episode: the episode's records, from its stand-up to its last step.

    Raises:
        RunError: the episode has no actions, or records are missing or damaged.
    """
    rows = episode.records[episode.records["phase"] == PHASE_EPISODE]
    steps = rows[(rows["flags"] & FLAG_START) == 0]
    if not len(steps):
        raise RunError(f"--episode {episode.number}: it has no commands; choose another")
    whole = bool(rows["flags"][0] & FLAG_START) and bool((np.diff(rows["index"]) == 1).all())
    actions = np.asarray(steps["action"], dtype=np.float64)
    first_rad = np.asarray(rows["motor_angle"][0], dtype=np.float64)
    possible = np.isfinite(first_rad).all() and bool((np.abs(actions) <= 1.0).all())
    if not (whole and possible):
        raise RunError(
            f"--episode {episode.number}: records of it are missing or damaged, and a robot would "
            "jump across the gap; choose another"
        )
    return RecordedActions(first_rad, actions)


class Replaying:
    """Sends recorded actions, one per control period.

    The outcome of its `Done` is the reason for an early end, or an empty string.

    Args:
        path: filter and leg space, as in learning.
        actions: (n, 8) actions in [-1, 1].
        period_s: control period, s.
        stopped: asked every period; True ends the replay early.
    """

    phase = Phase.REPLAYING

    def __init__(
        self,
        path: ActionPath,
        actions: FloatArray,
        period_s: float,
        stopped: Callable[[], bool],
    ) -> None:
        self._path, self._actions, self._period_s = path, actions, period_s
        self._stopped = stopped
        self._next, self._fell = 0, False

    def start(self, state: RobotState) -> None:
        """Start the filter at the measured posture, as an episode does."""
        self._path.reset(state)

    def step(self, state: RobotState, time_s: float) -> Target | Done:
        """Return the target of the next recorded action."""
        if self._fell:
            return Done(f"it fell after {self._next * self._period_s:.1f} s of the episode")
        if self._next == len(self._actions):
            return Done("")
        if self._stopped():
            return Done("stopped")
        self._next += 1
        return self._path.target(self._actions[self._next - 1])

    def check(self, period: Period) -> Period:
        """Record whether the robot fell."""
        self._fell = period.fell
        return period


def replay_on_robot(
    config: Config,
    port: str,
    recorded: RecordedActions,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Replay an episode once, then settle the robot.

    Args:
        config: configuration of the run: body, rate, filter and limits.
        port: serial port of the board.
        recorded: the actions to replay.
        stopped: asked every period; True ends the replay early.
        say: called with messages for people.

    Returns:
        Whether all actions were replayed.

    Raises:
        RobotError: the robot can't be used or armed now; the message has all reasons.
        KeyboardInterrupt: a second signal arrived; the torque was cut.
    """
    with board_in_use(config, port, "robot replay", say) as plant:
        cycle = cycle_for(config, plant, say)
        # Designed before the robot stands: SciPy takes longer for the filter design than a command
        # is valid.
        path = ActionPath(plant.robot.body, config.control)
        if not get_up(config, cycle, stopped, say):
            return False
        result = cycle.attempt(lambda: replay_actions(cycle, path, recorded, stopped))
        if isinstance(result, HandledFault):
            return False
        plant.robot.stop(Stop.SETTLE)
        say(result or "it sits down")
        return not result


def replay_actions(
    cycle: ControlCycle,
    path: ActionPath,
    recorded: RecordedActions,
    stopped: Callable[[], bool],
) -> str:
    """Ease into the first posture, then send all actions.

    Args:
        cycle: runs the robot, which stands.
        path: filter and leg space, as in learning.
        recorded: the actions to replay.
        stopped: asked every period; True ends the replay early.

    Returns:
        The reason for an early end; empty if all actions were sent.

    Raises:
        RobotError: see `hardware.robot.Robot`.
    """
    plant = cycle.plant
    body, period_s = plant.robot.body, plant.clock.period_s
    cycle.run(EasingIn(body, recorded.first_rad, round(EASE_IN_S / period_s), stopped))
    why: str = cycle.run(Replaying(path, recorded.actions, period_s, stopped), fresh=False)
    return why
