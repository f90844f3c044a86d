# SPDX-License-Identifier: MIT
"""`robot replay --on-robot`: repeats the actions of a recorded episode on a real robot.

    arm --> stand up --> ease into the first posture --> the journal's actions --> settle

This is open loop: the recorded actions go out whatever the robot meets. They pass the same filter
and limits as when they were learned. A fall, a fault or a stop request settles the robot.
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
from walkhome.robot.control.cycle import ControlCycle, Fault
from walkhome.robot.control.period import Period, Phase
from walkhome.robot.control.target import Done, Target
from walkhome.robot.storage.journal import FLAG_START, PHASE_EPISODE
from walkhome.robot.storage.recorded_episodes import Episode
from walkhome.robot.storage.run_folder import RunError

FloatArray = npt.NDArray[np.float64]

EASE_IN_S = 1.0


@dataclass(frozen=True)
class RecordedActions:
    """What is replayed.

    Attributes:
        first_rad: (8,) motor angles in which the episode began.
        actions: (n, 8) the policy's actions, one per control period.
    """

    first_rad: FloatArray
    actions: FloatArray


def actions_of(episode: Episode) -> RecordedActions:
    """The actions of an episode, if the journal has all of them.

    Raises:
        RunError: it has none, or some are missing or damaged.
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
    """Sends recorded actions; its `Done` says why it ended early, or is empty.

    Args:
        path: filter and leg space, as in learning.
        actions: (n, 8) actions in [-1, 1].
        period_s: control period.
        stopped: True ends it early.
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
        """The next recorded action."""
        if self._fell:
            return Done(f"it fell after {self._next * self._period_s:.1f} s of the episode")
        if self._next == len(self._actions):
            return Done("")
        if self._stopped():
            return Done("stopped")
        self._next += 1
        return self._path.target(self._actions[self._next - 1])

    def check(self, period: Period) -> Period:
        """Note a fall."""
        self._fell = period.fell
        return period


def replay_on_robot(
    config: Config,
    port: str,
    recorded: RecordedActions,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Replay once; the robot is settled at the end.

    Args:
        config: configuration of the run: body, rate, filter and limits.
        port: serial port of the board.
        recorded: what to replay.
        stopped: asked every period; True ends it.
        say: called with messages for people.

    Returns:
        Whether all actions were replayed.

    Raises:
        RobotError: the robot can't be used or armed now; the message has all reasons.
    """
    with board_in_use(config, port, "robot replay", say) as plant:
        cycle = cycle_for(config, plant, say)
        # Made before the robot stands: SciPy's filter design takes longer than a command is valid.
        path = ActionPath(plant.robot.body, config.control)
        if not get_up(config, cycle, stopped, say):
            return False
        result = cycle.attempt(lambda: replay_actions(cycle, path, recorded, stopped))
        if isinstance(result, Fault):
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
    """Ease into the first posture, then send all actions; why it ended early, or nothing."""
    plant = cycle.plant
    body, period_s = plant.robot.body, plant.clock.period_s
    cycle.run(EasingIn(body, recorded.first_rad, round(EASE_IN_S / period_s), stopped))
    why: str = cycle.run(Replaying(path, recorded.actions, period_s, stopped), fresh=False)
    return why
