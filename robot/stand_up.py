# SPDX-License-Identifier: MIT
"""`robot stand-up`: arm, get up by the script, stand, sit down."""

from __future__ import annotations

from collections.abc import Callable

from hardware.priority import CONTROL_PRIORITY, on_time
from hardware.robot import Stop
from robot.beside import CLOSE_S, SideThread
from robot.board_rig import make_board
from robot.config_schema import Config
from robot.reset import Resetter, StandUpOutcome
from robot.rig import ROBOT_FAULTS, Actuator, Rig


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
    with SideThread("view", CLOSE_S) as screen:

        def tell(text: str) -> None:  # a terminal may take its time
            screen.do(lambda: say(text))

        rig = make_board(config, port, who="robot stand-up", say=tell, fenced=False)
        try:
            with on_time(CONTROL_PRIORITY) as granted:
                for text in granted.refused:
                    tell(f"not quite on time: {text}")
                try:
                    return _stand(rig, config, seconds, stopped, tell)
                finally:  # while it is still on time: the supervisor waits for commands
                    rig.robot.stop(Stop.SETTLE)
        finally:
            rig.robot.close()


def _stand(
    rig: Rig,
    config: Config,
    seconds: float,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    actuator, arming = Actuator(rig, config), rig.arming
    assert arming is not None
    resetter = Resetter(config, rig, actuator, stopped=stopped, ready=lambda: arming.ready(stopped))
    begin_s = rig.clock.now_s()
    while (outcome := _caught(rig, resetter, say)) is None:
        pass
    if not outcome.ok:
        say("stopped" if stopped() else f"it does not stand after {outcome.attempts} attempts")
        return False
    say(f"it stands after {rig.clock.now_s() - begin_s:.1f} s, attempts: {outcome.attempts}")
    body = rig.robot.body
    end_s = rig.clock.now_s() + seconds
    actuator.start(rig.robot.read())
    while rig.clock.now_s() < end_s and not stopped():
        state = rig.robot.read()
        actuator.pose(body.stance_motor_rad(), state, body.kp, body.kd)
        rig.timeline.sent()
        rig.clock.tick()
    say("it sits down")
    return True


def _caught(rig: Rig, resetter: Resetter, say: Callable[[str], None]) -> StandUpOutcome | None:
    """One stand-up; None if the robot had to be caught and may try again."""
    try:
        return resetter.stand_up()
    except ROBOT_FAULTS as error:
        rig.robot.stop(Stop.SETTLE)
        say(f"the robot stops: {error}")
        assert rig.arming is not None
        return None if rig.arming.fault(error) else StandUpOutcome(False, 0)
