# SPDX-License-Identifier: MIT
"""Teleoperation: driver input in, safe commands out, one control period after the other.

    SETTLED      limp, or sitting down. Holding the dead-man makes the robot stand up.
    ARMING       a board's robot is checked before it gets torque (`robot.board.arming`).
    STANDING_UP  the scripted stand-up, also after a fall.
    DRIVING      the learned gaits, blended into each other (`robot.teleop.gaits`).

Releasing the dead-man settles the robot at the next period, from any state. An unplugged gamepad
and a closed terminal count as a release. After a stop button the dead-man must be released before
the robot moves again. Commands pass the same filter and limits as in learning
(`robot.control.actuator`).

A fault of a board's robot (link, sensors, supervisor) settles it as well. It moves again only after
the driver has released the dead-man and pressed it again; then it is checked and armed as at the
start. A script cannot press again, so a fault ends its drive.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from walkhome.hardware.robot import RobotState, Stop
from walkhome.learning.policy import NumpyPolicy
from walkhome.robot.config.schema import Config
from walkhome.robot.control.actuator import ActionPath
from walkhome.robot.control.cycle import ControlCycle, HandledFault
from walkhome.robot.control.period import Period, Phase
from walkhome.robot.control.plant import Plant
from walkhome.robot.control.reset import StandUpRoutine
from walkhome.robot.control.target import Done, Rest, Target
from walkhome.robot.mdp.observation import N_ACTIONS, Observer, observation_layout
from walkhome.robot.teleop.driver import Driver
from walkhome.robot.teleop.driver_input import InputSource
from walkhome.robot.teleop.gaits import STAND, Gaits
from walkhome.robot.teleop.telemetry import DrivePeriod, DriveState, DriveStatistics, Listeners

SIT_DOWN_S = 0.7
"""Time for the damped sit-down of `Stop.SETTLE` (0.5 s on a board), with a margin."""


class _End(enum.Enum):
    """Why a behaviour of the drive ended."""

    OVER = "the drive is over"
    HELD = "the dead-man is held"
    LET_GO = "the dead-man was released"
    FELL = "the robot fell"


class Teleop:
    """Drives a robot by driver input and learned gaits.

    Args:
        config: configuration of the run: rate, filter, body and limits.
        plant: the robot.
        policies: one policy per task name.
        source: delivers the driver input.
        blend_s: time of a hand-over between gaits, s; see `Gaits`.
        listeners: called with every period and event.
        stop_requested: asked every period; True, after a signal for example, ends the drive.

    Attributes:
        statistics: counts of the drive so far.
        state: what the robot is doing.
        gait: the gait that drives the robot, or to which a hand-over is under way.
        blind: True from a fault until the robot is ready again; missing telemetry is then no fault.

    Raises:
        LinkLost: the board sends no telemetry.
        ValueError: `blend_s` is not positive.
    """

    def __init__(
        self,
        config: Config,
        plant: Plant,
        policies: Mapping[str, NumpyPolicy],
        source: InputSource,
        blend_s: float,
        listeners: Listeners | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._plant = plant
        self._listeners = listeners or Listeners()
        self.driver = Driver(source, stop_requested)
        self.gaits = Gaits(policies, blend_s, plant.clock.period_s)
        # Designed here, before the robot moves: SciPy takes longer for the filter design than a
        # robot may go without a command.
        self.path = ActionPath(plant.robot.body, config.control)
        self.observer = Observer(observation_layout(config.control), plant.robot.body)
        self.statistics = DriveStatistics()
        self.state, self.gait = DriveState.SETTLED, STAND
        self.blind = False
        self._was_cut = self._ending = False
        plant.report_to(lambda text: self._event("board", text=text))
        self._cycle = ControlCycle(plant, config.episode, self._on_period)
        self._routine = StandUpRoutine.of(
            config, self._cycle, self._listen_for_release, self._ready
        )
        self._cycle.state = plant.first_state()

    def run(self) -> DriveStatistics:
        """Drive until the input ends or a stop is requested, then settle the robot.

        Returns:
            The counts of the drive.

        Raises:
            KeyboardInterrupt: a second signal arrived; the torque was cut.
            RobotError: the twin failed, or a board's robot must not be commanded any more.
            ValueError: an observation was not finite; the robot was settled.
        """
        how: Stop | None = Stop.SETTLE
        try:
            while (result := self._cycle.attempt(self._next_state)) is not False:
                if isinstance(result, HandledFault):
                    self._settle_after(result)
            self._end()
            how = None
            self._sit_down()
        except KeyboardInterrupt:
            how = Stop.CUT
            raise
        finally:
            if how is not None:
                self._plant.robot.stop(how)
        return self.statistics

    # -- states ----------------------------------------------------------------------------------

    def _next_state(self) -> bool:
        """Run one state to its end; False once the drive is over."""
        driving = self.state is DriveState.DRIVING
        end = self._cycle.run(_Driving(self) if driving else _Settled(self), fresh=driving)
        if end is _End.OVER:
            return False
        if end is _End.LET_GO:
            self.settle()
            return True
        if end is _End.FELL:
            self.statistics.falls += 1
            self._event("fall", doing=self.gait)
            self.listen()
        self._stand_up()
        return True

    def _stand_up(self) -> None:
        self.state, self.gait = DriveState.STANDING_UP, STAND
        self._was_cut = False  # a robot that moves again can be cut again
        if self.driver.let_go:
            self.settle()
            return
        outcome = self._routine.stand_up()
        outcome.check()
        if outcome.ok:
            self.state = DriveState.DRIVING
            self._event("stands", attempts=outcome.attempts)
            return
        needs_help = self.statistics.needs_help = not self.driver.let_go
        if outcome.attempts or needs_help or self.driver.input.stop is not None:
            self.settle("a person is needed" if needs_help else "")
        else:  # released before the robot moved: no event
            self._plant.robot.stop(Stop.SETTLE)
            self.state = DriveState.SETTLED

    def settle(self, why: str = "") -> None:
        """Settle the robot, or cut its torque if the driver has pressed the cut.

        Args:
            why: reason for the event; empty: the note of the driver input.
        """
        cut = self.driver.input.stop is Stop.CUT
        self._plant.robot.stop(Stop.CUT if cut else Stop.SETTLE)
        self.state, self.gait = DriveState.SETTLED, STAND
        self._was_cut = cut
        self.statistics.cuts += cut
        self.statistics.settles += not cut
        if cut and self._plant.cut_latches:
            self.statistics.ended_by = "the torque was cut"
        asked = "stop requested" if self.driver.stop_requested else self.driver.input.note
        self._event("cut" if cut else "settle", why=why or asked)

    def _settle_after(self, fault: HandledFault) -> None:
        """Count and report a fault; the control cycle has settled the robot already."""
        self.state, self.gait = DriveState.SETTLED, STAND
        self.blind = True
        self.driver.require_release()
        self.statistics.faults += 1
        error = fault.error
        self._event(
            "fault", what=type(error).__name__, why=str(error), **self._plant.fault_fields()
        )
        if not fault.may_go_on:
            self.statistics.needs_help = True
        elif not self.driver.attended:
            self.statistics.ended_by = str(error)
        else:
            text = "release the dead-man and hold it again: the robot is then checked and armed"
            self._event("board", text=text)

    def _end(self) -> None:
        if not self.cut_now():  # the input that ends the drive may carry a cut as well
            self._plant.robot.stop(Stop.SETTLE)

    def _sit_down(self) -> None:
        self.state, self._ending = DriveState.SETTLED, True
        periods = round(SIT_DOWN_S / self._plant.clock.period_s)
        self._cycle.run(_SittingDown(self, periods), fresh=False)

    # -- input -----------------------------------------------------------------------------------

    def listen(self) -> bool:
        """Poll the driver, and decide whether the drive goes on.

        Returns:
            False once the input has ended, a stop was requested, or a person is needed.
        """
        self.driver.listen(self.statistics.driven_s)
        self.statistics.lost = self.driver.input.lost or self.statistics.lost
        over = self.driver.gone or bool(self.statistics.ended_by) or self.statistics.needs_help
        return not (over or self.driver.stop_requested)

    def switch(self, task: str | None) -> str:
        """Select the gait for a task; None, or a task that was not learned, selects standing.

        Returns:
            The name of the gait.
        """
        gait = task or STAND
        if gait not in self.gaits:
            self.driver.note(f"{gait} was not learned: stands")
            gait = STAND
        if gait != self.gait:
            self._event("switch", **{"from": self.gait, "to": gait})
            self.statistics.switches += 1
            self.gait = gait
        return gait

    def cut_now(self) -> bool:
        """Cut the torque if the driver asks for it and it is not cut yet.

        Returns:
            Whether this call cut the torque.
        """
        if self.driver.input.stop is not Stop.CUT or self._was_cut:
            return False
        self.settle()
        return True

    def _listen_for_release(self) -> bool:
        self.listen()
        return self.driver.let_go

    def _ready(self) -> bool:
        """Make the robot ready before it moves; False if the driver released or it can't be."""
        self.state = DriveState.ARMING
        if not self._plant.make_ready(self._released_while_arming):
            return False
        self.state, self.blind = DriveState.STANDING_UP, False
        self._event("stand_up")
        return True

    def _released_while_arming(self) -> bool:
        # An input that released the dead-man is kept until `_stand_up` has acted on it: the press
        # of a stop key lasts one poll only.
        if not self.driver.let_go:
            self.listen()
            self._show(None)
        return self.driver.let_go

    # -- listeners -------------------------------------------------------------------------------

    def _on_period(self, period: Period) -> None:
        if self.state is DriveState.STANDING_UP:
            self.statistics.standing_up_s += period.elapsed_s
        elif not self._ending:
            self.statistics.driven_s += period.elapsed_s
        self._show(period)

    def _show(self, period: Period | None) -> None:
        target = None if period is None else period.target
        action, filtered = np.zeros(N_ACTIONS), np.zeros(N_ACTIONS)
        if target is not None and target.action is not None and target.filtered is not None:
            action, filtered = target.action, target.filtered
        measured = self._cycle.state if period is None else period.state
        assert measured is not None
        self._listeners.period(
            DrivePeriod(
                self.state,
                self.driver.input,
                self.gait,
                measured,
                action,
                filtered,
                None if period is None or target is None else period.sent_rad,
                self.statistics,
            )
        )

    def _event(self, kind: str, **fields: Any) -> None:
        robot_s = self.statistics.driven_s + self.statistics.standing_up_s
        self._listeners.event(kind, {"robot_s": round(robot_s, 3), **fields})


class _Driving:
    """Follows the driver with the learned gaits until a release, the end or a fall.

    The outcome of its `Done` is an `_End`.
    """

    phase = Phase.DRIVING

    def __init__(self, teleop: Teleop) -> None:
        self._teleop, self._fell = teleop, False

    def start(self, state: RobotState) -> None:
        """Begin from standing, at the measured posture."""
        teleop = self._teleop
        self._observation = teleop.observer.reset(state, teleop.path.reset(state))
        teleop.gaits.reset(teleop.driver.input.scale)

    def step(self, state: RobotState, time_s: float) -> Target | Done:
        """Compute the target of the gait that the driver asks for."""
        teleop = self._teleop
        if self._fell:
            return Done(_End.FELL)
        if not teleop.listen():
            return Done(_End.OVER)
        if teleop.driver.let_go:
            return Done(_End.LET_GO)
        gait = teleop.switch(teleop.driver.input.task)
        stride = teleop.driver.input.scale
        return teleop.path.target(teleop.gaits.action(gait, stride, self._observation))

    def check(self, period: Period) -> Period:
        """Update the observation, and record a fall."""
        assert period.target is not None
        assert period.target.filtered is not None
        self._observation = self._teleop.observer.observe(period.state, period.target.filtered)
        self._fell = period.fell
        return period


class _Settled:
    """Rests until the dead-man is held; a cut takes effect at once. Ends with an `_End`."""

    phase = Phase.WAITING

    def __init__(self, teleop: Teleop) -> None:
        self._teleop = teleop

    def start(self, state: RobotState) -> None:
        """Do nothing: no preparation is needed."""

    def step(self, state: RobotState, time_s: float) -> Rest | Done:
        """Rest while the dead-man is not held."""
        teleop = self._teleop
        if not teleop.listen():
            return Done(_End.OVER)
        if not teleop.driver.let_go:
            return Done(_End.HELD)
        if teleop.driver.input.stop is Stop.CUT:
            teleop.settle()
        return Rest(blind=teleop.blind)

    def check(self, period: Period) -> Period:
        """Return the period unchanged."""
        return period


class _SittingDown:
    """Waits while the robot sits down at the end of the drive; the driver may still cut."""

    phase = Phase.WAITING

    def __init__(self, teleop: Teleop, periods: int) -> None:
        self._teleop, self._left = teleop, periods

    def start(self, state: RobotState) -> None:
        """Do nothing: no preparation is needed."""

    def step(self, state: RobotState, time_s: float) -> Rest | Done:
        """Rest until the periods are over."""
        if self._left == 0:
            return Done()
        self._left -= 1
        self._teleop.listen()
        self._teleop.cut_now()
        return Rest(blind=True)  # the robot is settled already; a lost link changes nothing

    def check(self, period: Period) -> Period:
        """Return the period unchanged."""
        return period
