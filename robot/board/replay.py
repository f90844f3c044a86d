# SPDX-License-Identifier: MIT
"""`robot replay --on-robot`: what a policy asked for in an episode, asked again of a real robot.

    arm --> stand up --> ease into the first posture --> the journal's actions --> settle

Nothing looks where it goes: the actions are the recorded ones, whatever the robot meets. They pass
the same filter and limits as when they were learned; a fall, a fault or a wish to stop settles it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import RobotState, Stop
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.board.session import board_in_use
from walkhome.robot.board.stand_up import get_up
from walkhome.robot.config.schema import Config
from walkhome.robot.control.plant import ROBOT_FAULTS, Actuator, Rig
from walkhome.robot.storage.journal import FLAG_START, PHASE_EPISODE
from walkhome.robot.storage.recorded_episodes import Episode
from walkhome.robot.storage.run_folder import RunError
from walkhome.safety.attitude import is_fallen

FloatArray = npt.NDArray[np.float64]

EASE_IN_S = 1.0


@dataclass(frozen=True)
class Commands:
    """What is replayed.

    Attributes:
        first_rad: (8,) motor angles in which the episode began.
        actions: (n, 8) what the policy asked for, one a control period.
    """

    first_rad: FloatArray
    actions: FloatArray


def commands_of(episode: Episode) -> Commands:
    """The commands of an episode, if the journal has all of them.

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
    return Commands(first_rad, actions)


def replay_on_robot(
    config: Config,
    port: str,
    commands: Commands,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Replay once; the robot is settled at the end.

    Args:
        config: of the run: body, rate, filter, limits.
        port: of the board.
        commands: of the episode.
        stopped: asked every period.
        say: told what happens.

    Returns:
        Whether all of it was replayed.

    Raises:
        RobotError: it can't be used or armed now; the message has all reasons.
    """
    with board_in_use(config, port, "robot replay", say) as rig:
        actuator = Actuator(rig, config)
        if not get_up(rig, config, actuator, stopped, say):
            return False
        try:
            why = _replay(rig, config, actuator, commands, stopped)
        except ROBOT_FAULTS as error:
            why = f"{error.code}: {error}"
        rig.robot.stop(Stop.SETTLE)
        say(why or "it sits down")
        return not why


def _replay(
    rig: Rig,
    config: Config,
    actuator: Actuator,
    commands: Commands,
    stopped: Callable[[], bool],
) -> str:
    """Ease in, then all actions; why it ended before the last, or nothing."""
    state = _ease_in(rig, actuator, commands.first_rad, stopped)
    actuator.start(state)  # as an episode begins: filter and limits at the measured posture
    limits = config.episode
    for number, action in enumerate(commands.actions):
        if stopped():
            return "stopped"
        actuator.act(action, state)
        rig.clock.tick()
        state = rig.robot.read()
        roll, pitch, _ = roll_pitch_yaw(state.attitude_xyzw)
        if is_fallen(
            roll_rad=roll,
            pitch_rad=pitch,
            roll_limit_rad=limits.fall_roll_rad,
            pitch_limit_rad=limits.fall_pitch_rad,
        ):
            return f"it fell after {(number + 1) * rig.clock.period_s:.1f} s of the episode"
    return ""


def _ease_in(
    rig: Rig, actuator: Actuator, first_rad: FloatArray, stopped: Callable[[], bool]
) -> RobotState:
    """From the posture it has to the episode's first, without a jump; the state after it."""
    body = rig.robot.body
    # Within what an action can ask for, as an episode's filter starts.
    target = body.action_to_motor(np.clip(body.motor_to_action(first_rad), -1.0, 1.0))
    state = rig.robot.read()
    begin = body.action_to_motor(actuator.start(state))
    for share in np.linspace(0.0, 1.0, max(2, round(EASE_IN_S / rig.clock.period_s))):
        if stopped():
            break
        smooth = share * share * (3.0 - 2.0 * share)
        actuator.pose(begin + smooth * (target - begin), state, body.kp, body.kd)
        rig.clock.tick()
        state = rig.robot.read()
    return state
