# SPDX-License-Identifier: MIT
"""`robot stand-up`: arm, get up by the script, hold the stance, sit down."""

from __future__ import annotations

from collections.abc import Callable

from walkhome.hardware.robot import Stop
from walkhome.robot.board.session import board_in_use
from walkhome.robot.config.schema import Config
from walkhome.robot.control.behaviours import HoldingStance
from walkhome.robot.control.cycle import ControlCycle, Fault
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
        seconds: how long to stand.
        stopped: asked every period; True ends it.
        say: called with messages for people.

    Returns:
        Whether the robot stood.

    Raises:
        RobotError: it can't be armed, or was lost while it stood.
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
    """A control cycle without listeners that reports faults to `say`."""
    return ControlCycle(
        plant, config.episode, on_fault=lambda error, trace: say(f"the robot stops: {error}")
    )


def get_up(
    config: Config,
    cycle: ControlCycle,
    stopped: Callable[[], bool],
    say: Callable[[str], None],
) -> bool:
    """Arm a robot and get it on its feet, again after a fault; whether it stands.

    Args:
        config: attempts and limits.
        cycle: of the robot.
        stopped: asked every period; True ends it.
        say: called with messages for people.
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

    while isinstance(outcome := cycle.attempt(once), Fault):
        if not outcome.may_go_on:
            return False
    if not outcome.ok:
        say("stopped" if stopped() else "it was not armed")
        return False
    say(f"it stands after {clock.now_s() - begin_s:.1f} s, attempts: {outcome.attempts}")
    return True
