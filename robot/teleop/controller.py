# SPDX-License-Identifier: MIT
"""The engine of teleoperation: orders in, safe commands out, one control period after the other.

    SETTLED      limp, or sitting down. A held dead-man makes it stand up.
    ARMING       a board's robot is looked at before it gets torque (`robot.board.arming`).
    STANDING_UP  the scripted stand-up, also after a fall.
    DRIVING      the learned gaits, blended into each other (`robot.teleop.blend`).

Whatever lets go of the dead-man (a thumb, a cable, a terminal) settles the robot at the next
period, from any state. After a stop button the dead-man must be released before the robot moves
again. Commands go through the same filter and limits as in learning
(`robot.control.plant.Actuator`).

A board's robot that had to be caught (link, sensors, supervisor) settles as well, and moves again
only when the driver lets go and presses anew; then it is checked and armed as at the start. A
driver who can't press, a script, has driven enough.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import LinkLost, RobotError, RobotState, Stop
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.learning.policy import NumpyPolicy, PolicyInvalid
from walkhome.robot.config.schema import Config
from walkhome.robot.config.sections import OPPOSITE
from walkhome.robot.control.plant import ROBOT_FAULTS, Actuator, Rig
from walkhome.robot.control.reset import Resetter
from walkhome.robot.mdp.observation import Observer, observation_layout
from walkhome.robot.teleop.blend import Blend, mean_action
from walkhome.robot.teleop.driver_input import Order, Source
from walkhome.robot.teleop.telemetry import Listeners, Moment, Phase, Tally
from walkhome.safety.attitude import is_fallen
from walkhome.safety.command.limits import UnsafeCommand

FloatArray = npt.NDArray[np.float64]

STAND = "stand"
SIT_DOWN_S = 0.7  # the damped sit of `Stop.SETTLE`, and a little more
FIRST_STATE_S = 1.0  # what waited in a port's queue is old; news comes within that


class Teleop:
    """Drives a rig.

    Args:
        config: of the run: rate, filter, body, limits.
        rig: the robot.
        policies: by task.
        source: of the orders.
        blend_s: of a hand-over; between opposite gaits, by way of standing, it takes two.
        listeners: told what happens.
        stop_requested: asked every period; a signal, for instance.
    """

    def __init__(
        self,
        config: Config,
        rig: Rig,
        policies: Mapping[str, NumpyPolicy],
        source: Source,
        blend_s: float,
        listeners: Listeners | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config, self._rig, self._policies = config, rig, dict(policies)
        self._source, self._stop_requested = source, stop_requested
        self._listeners = listeners or Listeners()
        self._actuator = Actuator(rig, config)
        self._observer = Observer(observation_layout(config.control), rig.robot.body)
        self._resetter = Resetter(
            config, rig, self._actuator, self._on_reset, self._let_go, self._ready
        )
        self._period_s = rig.clock.period_s
        self._blend_s = blend_s
        self._blend = Blend([STAND, *self._policies], STAND, blend_s, self._period_s, OPPOSITE)
        self._phase, self._doing, self._scale = Phase.SETTLED, STAND, 1.0
        self._order = Order()
        self._must_release = self._was_cut = False
        self._unseen = False  # the robot was lost while nobody drove it; arming finds it again
        if rig.arming is not None:
            rig.arming.say = lambda text: self._event("board", text=text)
        self._state = self._first_state()
        self._observation = np.zeros(self._observer.layout.size)
        self.tally = Tally()

    def run(self) -> Tally:
        """Until the orders end, or somebody says stop; the robot is settled then.

        Raises:
            KeyboardInterrupt: somebody insisted; the torque was cut.
            RobotError: the twin failed, or a board's robot must not be commanded any more.
        """
        how: Stop | None = Stop.SETTLE
        try:
            while self._go_on():
                self._period()
            self._end()
            how = None
            self._sit_down()
        except KeyboardInterrupt:
            how = Stop.CUT
            raise
        finally:
            if how is not None:
                self._rig.robot.stop(how)
        return self.tally

    # -- one period ------------------------------------------------------------------------------

    def _go_on(self) -> bool:
        self._listen()
        self.tally.lost = self._order.lost
        ended = self._order.ended or bool(self._order.lost) or bool(self.tally.ended_by)
        return not (ended or self.tally.needs_help or self._stop_requested())

    def _period(self) -> None:
        try:
            if self._phase is Phase.DRIVING:
                self._drive()
            else:
                self._wait()
        except ROBOT_FAULTS as error:
            self._caught(error)

    def _listen(self) -> None:
        self._order = order = self._source.poll(self.tally.driven_s)
        if order.stop is not None:
            self._must_release = True
        elif not order.held:
            self._must_release = False

    def _let_go(self) -> bool:
        """Whether the driver does not want the robot to move now."""
        order = self._order
        gone = order.ended or bool(order.lost) or self._stop_requested()
        return gone or self._must_release or not order.held

    def _drive(self) -> None:
        if self._let_go():
            self._settle()
            return
        wanted = self._order.task or STAND
        if wanted not in (STAND, *self._policies):
            self._order = replace(self._order, note=f"{wanted} was not learned: stands")
            wanted = STAND
        if wanted != self._doing:
            self._event("switch", **{"from": self._doing, "to": wanted})
            self.tally.switches += 1
            self._doing = wanted
        action = self._action(self._blend.step(wanted))
        filtered, sent_rad = self._actuator.act(action, self._state)
        self._pass_time()
        self._state = self._rig.robot.read()
        self._observation = self._observer.observe(self._state, filtered)
        self._show(action, filtered, sent_rad)
        roll, pitch, _ = roll_pitch_yaw(self._state.attitude_xyzw)
        limits = self._config.episode
        if is_fallen(
            roll_rad=roll,
            pitch_rad=pitch,
            roll_limit_rad=limits.fall_roll_rad,
            pitch_limit_rad=limits.fall_pitch_rad,
        ):
            self.tally.falls += 1
            self._event("fall", doing=self._doing)
            self._listen()
            self._stand_up()

    def _action(self, weights: Mapping[str, float]) -> FloatArray:
        try:
            actions = {
                name: np.zeros(8)
                if name == STAND
                else self._policies[name].act(self._observation, deterministic=True)
                for name in weights
            }
        except PolicyInvalid as error:
            raise UnsafeCommand(str(error)) from None
        action = mean_action(weights, actions)
        # A smaller stride is a smaller swing; legs must be lifted as high as ever. It changes as
        # slowly as gaits do.
        most = self._period_s / self._blend_s
        self._scale += min(most, max(-most, self._order.scale - self._scale))
        action[:4] *= self._scale
        return action

    def _wait(self) -> None:
        if not self._let_go():
            self._stand_up()
            return
        if self._order.stop is Stop.CUT:
            self._settle()
        self._pass_time()
        if not self._unseen:
            self._state = self._rig.robot.read()
        self._show(None, None, None)

    def _pass_time(self) -> None:
        self._rig.clock.tick()
        self.tally.driven_s += self._rig.clock.elapsed_s

    def _settle(self, why: str = "") -> None:
        cut = self._order.stop is Stop.CUT
        self._rig.robot.stop(Stop.CUT if cut else Stop.SETTLE)
        self._phase, self._doing = Phase.SETTLED, STAND
        self._was_cut = cut
        self.tally.cuts += cut
        self.tally.settles += not cut
        if cut and self._rig.arming is not None:  # latched, until a person has looked why
            self.tally.ended_by = "the torque was cut"
        asked = "asked to stop" if self._stop_requested() else self._order.note
        self._event("cut" if cut else "settle", why=why or asked)

    def _stand_up(self) -> None:
        self._phase, self._doing = Phase.STANDING_UP, STAND
        self._was_cut = False  # what moves again can be cut again
        if self._let_go():
            self._settle()
            return
        outcome = self._resetter.stand_up()
        if outcome.gave_up and self._rig.arming is not None:
            raise outcome.fault
        if not outcome.ok:
            self.tally.needs_help = not self._let_go()
            if outcome.attempts or self.tally.needs_help or self._order.stop is not None:
                self._settle("a person is needed" if self.tally.needs_help else "")
            else:  # let go before it moved: nothing to tell
                self._rig.robot.stop(Stop.SETTLE)
                self._phase = Phase.SETTLED
            return
        self._phase = Phase.DRIVING
        self._state = self._rig.robot.read()
        filtered = self._actuator.start(self._state)
        self._observation = self._observer.reset(self._state, filtered)
        self._blend.reset(STAND)
        self._scale = self._order.scale
        self._event("stands", attempts=outcome.attempts)

    def _on_reset(self, kind: str, state: RobotState, sent_rad: FloatArray) -> None:
        """A period of the stand-up has passed."""
        self._state = state
        self.tally.standing_up_s += self._rig.clock.elapsed_s
        self._listen()
        self._show(None, None, sent_rad if kind == "stand_up" else None)

    def _end(self) -> None:
        if not self._cut_now():  # it may be pressed together with what ended the drive
            self._rig.robot.stop(Stop.SETTLE)

    def _cut_now(self) -> bool:
        """Cut if the driver says so and it was not done yet; whether it was."""
        if self._order.stop is not Stop.CUT or self._was_cut:
            return False
        self._settle()
        return True

    def _sit_down(self) -> None:
        self._phase = Phase.SETTLED
        for _ in range(round(SIT_DOWN_S / self._period_s)):
            self._listen()
            self._cut_now()
            self._rig.clock.tick()
            if self._rig.arming is None:
                self._state = self._rig.robot.read()
            else:  # it is let down already; a lost link changes nothing
                with contextlib.suppress(*ROBOT_FAULTS):
                    self._state = self._rig.robot.read()
            self._show(None, None, None)

    # -- a board ---------------------------------------------------------------------------------

    def _first_state(self) -> RobotState:
        for _ in range(round(FIRST_STATE_S / self._period_s)):
            with contextlib.suppress(LinkLost):
                return self._rig.robot.read()
            self._rig.clock.tick()
        return self._rig.robot.read()

    def _ready(self) -> bool:
        """A board's robot is armed before it moves; the driver may let go meanwhile."""
        arming = self._rig.arming
        if arming is not None:
            self._phase = Phase.ARMING
            if not arming.ready(self._waits_no_more):
                return False
            self._phase, self._unseen = Phase.STANDING_UP, False
        self._event("stand_up")
        return True

    def _waits_no_more(self) -> bool:
        if not self._let_go():  # what made it let go stays, until it has been acted on
            self._listen()
            self._show(None, None, None)
        return self._let_go()

    def _caught(self, error: RobotError) -> None:
        """A board's robot can't be driven now: let it down; only the driver starts it again."""
        arming = self._rig.arming
        if arming is None:
            raise error
        self._rig.robot.stop(Stop.SETTLE)
        self._phase, self._doing = Phase.SETTLED, STAND
        self._unseen = self._must_release = True
        self.tally.faults += 1
        goes_on = arming.fault(error)
        self._event("fault", what=type(error).__name__, why=str(error), **arming.budget.last)
        if not goes_on:
            self.tally.needs_help = True
        elif not self._source.attended:
            self.tally.ended_by = str(error)
        else:
            self._event("board", text="let go, and press again: it is checked and armed anew")

    # -- who is told -----------------------------------------------------------------------------

    def _show(
        self,
        action: FloatArray | None,
        filtered: FloatArray | None,
        sent_rad: FloatArray | None,
    ) -> None:
        zeros = np.zeros(8)
        self._listeners.period(
            Moment(
                self._phase,
                self._order,
                self._doing,
                self._state,
                zeros if action is None else action,
                zeros if filtered is None else filtered,
                sent_rad,
                self.tally,
            )
        )

    def _event(self, kind: str, **fields: Any) -> None:
        robot_s = self.tally.driven_s + self.tally.standing_up_s
        self._listeners.event(kind, {"robot_s": round(robot_s, 3), **fields})
