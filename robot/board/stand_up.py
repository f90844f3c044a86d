# SPDX-License-Identifier: MIT
"""`robot stand-up`: arm the robot, run the stand-up script, hold the stance, sit down."""

from __future__ import annotations

from collections.abc import Callable

from walkhome.hardware.robot import Stop
from walkhome.robot.board.session import board_in_use
from walkhome.robot.config.schema import Config
from walkhome.robot.control.behaviours import HoldingStance
from walkhome.robot.control.cycle import ControlCycle, HandledFault
from walkhome.robot.control.plant import Plant
from walkhome.robot.control.reset import StandUpOutcome, StandUpRoutine


def stand_up(
    config: Config,
    port: str,
    seconds: float,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Stand up once, hold the stance, sit down.

    Args:
        config: body, attempts and limits.
        port: serial port of the board.
        seconds: how long to stand, s.
        stopped: asked every period; True settles the robot early.
        say: called with messages for people.

    Returns:
        Whether the robot stood.

    Raises:
        RobotError: the robot can't be armed, or failed while it stood.
        KeyboardInterrupt: a second signal arrived; the torque was cut.
    """
    with board_in_use(config, port, "robot stand-up", say) as plant:
        cycle = cycle_for(config, plant, say)
        if not get_up(config, cycle, stopped, say):
            return False
        cycle.run(HoldingStance(plant.robot.body, seconds, stopped))
        plant.robot.stop(Stop.SETTLE)
        say("it sits down")
        return True


def cycle_for(config: Config, plant: Plant, say: Callable[[str], None]) -> ControlCycle:
    """Make a control cycle without listeners that reports faults to `say`."""
    return ControlCycle(
        plant, config.episode, on_fault=lambda error, trace: say(f"the robot stops: {error}")
    )


def get_up(
    config: Config,
    cycle: ControlCycle,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Arm a robot and get it on its feet; after a fault that may pass, try again.

    Args:
        config: attempts and limits.
        cycle: runs the robot.
        stopped: asked every period; True ends the attempt.
        say: called with messages for people.

    Returns:
        Whether the robot stands. If not, the reason went to `say`.

    Raises:
        RobotError: the robot must not be armed at all; see `Plant.make_ready`.
    """
    routine = StandUpRoutine.of(config, cycle, stopped)
    clock = cycle.plant.clock
    begin_s = clock.now_s()

    def once() -> StandUpOutcome:
        outcome = routine.stand_up()
        if outcome.gave_up:
            say(f"it does not stand after {outcome.attempts} attempts")
        outcome.check()
        return outcome

    while isinstance(outcome := cycle.attempt(once), HandledFault):
        if not outcome.may_go_on:
            return False
    if not outcome.ok:
        say("stopped" if stopped() else "it was not armed")
        return False
    say(f"it stands after {clock.now_s() - begin_s:.1f} s, attempts: {outcome.attempts}")
    return True
