# SPDX-License-Identifier: MIT
"""`robot stand-up`: arm, get up by the script, stand, sit down."""

from __future__ import annotations

from collections.abc import Callable

from walkhome.hardware.robot import Stop
from walkhome.robot.board.session import board_in_use
from walkhome.robot.config.schema import Config
from walkhome.robot.control.plant import ROBOT_FAULTS, Actuator, Rig
from walkhome.robot.control.reset import Resetter, StandUpOutcome


def stand_up(
    config: Config,
    port: str,
    seconds: float,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Stand up once.

    Args:
        config: body, attempts, limits.
        port: of the board.
        seconds: how long to stand.
        stopped: asked every period.
        say: told what happens.

    Returns:
        Whether it stood.

    Raises:
        RobotError: it can't be armed, or was lost on the way.
    """
    with board_in_use(config, port, "robot stand-up", say) as rig:
        actuator = Actuator(rig, config)
        if not get_up(rig, config, actuator, stopped, say):
            return False
        _stand(rig, actuator, seconds, stopped)
        rig.robot.stop(Stop.SETTLE)
        say("it sits down")
        return True


def get_up(
    rig: Rig,
    config: Config,
    actuator: Actuator,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Arm a board's robot and get it on its feet, again after a fault; whether it stands.

    Args:
        rig: of the board.
        config: attempts, limits.
        actuator: of the rig.
        stopped: asked every period.
        say: told what happens.
    """
    arming = rig.arming
    assert arming is not None
    resetter = Resetter(config, rig, actuator, stopped=stopped, ready=lambda: arming.ready(stopped))
    begin_s = rig.clock.now_s()
    while (outcome := _caught(rig, resetter, say)) is None:
        pass
    if not outcome.ok:
        if outcome.gave_up:
            arming.fault(outcome.fault)
        say("stopped" if stopped() else f"it does not stand after {outcome.attempts} attempts")
        return False
    say(f"it stands after {rig.clock.now_s() - begin_s:.1f} s, attempts: {outcome.attempts}")
    return True


def _stand(rig: Rig, actuator: Actuator, seconds: float, stopped: Callable[[], bool]) -> None:
    body = rig.robot.body
    end_s = rig.clock.now_s() + seconds
    actuator.start(rig.robot.read())
    while rig.clock.now_s() < end_s and not stopped():
        state = rig.robot.read()
        actuator.pose(body.stance_motor_rad(), state, body.kp, body.kd)
        rig.timeline.sent()
        rig.clock.tick()


def _caught(rig: Rig, resetter: Resetter, say: Callable[[str], None]) -> StandUpOutcome | None:
    """One stand-up; None if the robot had to be caught and may try again."""
    try:
        return resetter.stand_up()
    except ROBOT_FAULTS as error:
        rig.robot.stop(Stop.SETTLE)
        say(f"the robot stops: {error}")
        assert rig.arming is not None
        return None if rig.arming.fault(error) else StandUpOutcome(False, 0)
