# SPDX-License-Identifier: MIT
"""The scripted stand-up: from any posture to the stance, with feedback from IMU and encoders.

Ha et al. 2020 (arXiv 2002.08550, section 4.3) reset their robot between roll-outs by a script. This
one is a state machine, pure of I/O, called once per control period:

    READY      near the stance: move to it slowly.
    GATHER     fallen: bring the legs to their home position, or flat beside the trunk if one may
               prop it up; this also unwinds motors that made a whole turn.
    PROBE      test whether legs that had left their range are closed the wrong way round
               (`safety.recovery.moves`).
    WHIP       turn those that are.
    NUDGE      turn further those whose shanks the whip left across their cranks.
    ROLL       on the back or a side: a script of `safety.recovery.roll_over`, or its mirror image.
    FOLD       upright or on the belly: fold the legs under the trunk. If the trunk then is not
               level, it lies on a leg that is the wrong way round.
    RISE       extend the legs.
    CHECK      level, at rest, and the legs carry the weight: done. Otherwise the next attempt.

Every move has a time limit, so the script ends after `max_attempts` whatever the robot does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body, leg_to_motor, motor_to_leg
from walkhome.hardware.constants import N_LEGS, N_MOTORS
from walkhome.hardware.robot import RobotState
from walkhome.hardware.rotation import world_z_in_body
from walkhome.safety.command.limits import motor_torque_nm
from walkhome.safety.recovery.moves import (
    JAMMED_RAD,
    WHIPS,
    Move,
    Moves,
    StandUpPhase,
    StandUpSettings,
    wrong_way_round,
)
from walkhome.safety.recovery.posture import (
    calm,
    check_finite,
    falling,
    leans,
    near_stance,
    out_of_range,
    stands,
    up_cos,
    upright,
)
from walkhome.safety.recovery.roll_over import FROM_BACK, FROM_SIDE

FloatArray = npt.NDArray[np.float64]

LONGEST_PERIOD_S = 0.1  # a late call moves the targets by at most this much time
MAX_PROBES = 4
LEAST_S = 0.2  # before this, motors at rest do not end a move: they are starting
STILL_RAD_S = 1.5
GIVE_WAY_RAD_S = 80.0

# In these phases the robot is upright; a large tilt means that it has fallen over again.
RISING = (StandUpPhase.READY, StandUpPhase.FOLD, StandUpPhase.RISE, StandUpPhase.CHECK)

# Sides of the legs, in the order of `hardware.body`.
LEFT: FloatArray = np.array([1.0, 1.0, -1.0, -1.0])
FRONT: FloatArray = np.array([1.0, -1.0, 1.0, -1.0])


@dataclass(frozen=True, slots=True)
class StandUpCommand:
    """The command of one control period.

    Attributes:
        motor_angle_rad: (8,) targets, a new array; they move at most at the script's rate.
        kp: PWM per rad.
        kd: PWM per rad/s.
        phase: what the script is doing.
        done: the robot stands; the script is finished.
        failed: all attempts are used up; the caller should settle the robot and wait.
    """

    motor_angle_rad: FloatArray
    kp: float
    kd: float
    phase: StandUpPhase
    done: bool = False
    failed: bool = False


class StandUp:
    """State machine that brings a fallen robot to the stance.

    Args:
        body: stance, gains and limits.
        rng: chooses and varies scripts; the same seed gives the same choices.
        max_attempts: attempts before `failed`.
        settings: parameters of the script; `StandUpSettings()` if None.

    Attributes:
        attempts: attempts begun since `reset`.
    """

    def __init__(
        self,
        body: Body,
        rng: np.random.Generator,
        max_attempts: int,
        settings: StandUpSettings | None = None,
    ) -> None:
        if max_attempts < 1:
            raise ValueError(f"max_attempts is {max_attempts}; at least one is needed")
        self.attempts = 0
        self._body = body
        self._rng = rng
        self._max_attempts = max_attempts
        self._settings = settings or StandUpSettings()
        self._library = Moves(body, self._settings)
        self._stance = body.stance_motor_rad()
        self._target = self._stance.copy()
        self._moves: deque[Move] = deque(self._library.ready(self._stance))
        self._ended: StandUpPhase | None = None
        self._tangled = False
        self._rolls = [0, 0]  # from a side, from the back
        self._on_belly = True
        self._probes = 0
        self._whips = 0
        self._from_back = False
        self._last_s: float | None = None
        self._move_s = 0.0
        self._steady_s = 0.0
        self._hot_s = np.zeros(N_MOTORS)

    def reset(self, state: RobotState) -> None:
        """Start from the measured posture.

        Raises:
            Implausible: the state is not finite.
        """
        check_finite(state)
        self.attempts = 1
        self._target = state.motor_angle_rad.copy()
        self._ended = None
        self._last_s = None
        self._hot_s[:] = 0.0
        self._tangled = out_of_range(state, self._body)
        self._rolls = [0, 0]  # from a side, from the back
        self._whips = 0
        self._begin(state)

    def step(self, state: RobotState, time_s: float) -> StandUpCommand:
        """Compute the command of this control period.

        Args:
            state: the newest measurement.
            time_s: monotonic time.

        Raises:
            Implausible: the state is not finite.
        """
        check_finite(state)
        period_s = 0.0 if self._last_s is None else time_s - self._last_s
        period_s = min(max(period_s, 0.0), LONGEST_PERIOD_S)
        self._last_s = time_s
        if self._ended is None:
            self._advance(state, period_s)
        move = self._moves[0]
        if self._ended is not None:
            done = self._ended is StandUpPhase.DONE
            return StandUpCommand(
                self._target.copy(), move.kp, move.kd, self._ended, done, failed=not done
            )
        tired = self._tired(state, move, period_s)
        goal = move.goal_rad + self._balance(state) if move.balanced else move.goal_rad
        goal = np.where(tired, state.motor_angle_rad, goal)
        rate = np.where(tired, max(move.rate_rad_s, GIVE_WAY_RAD_S), move.rate_rad_s)
        step = rate * period_s
        self._target = self._target + np.clip(goal - self._target, -step, step)
        return StandUpCommand(self._target.copy(), move.kp, move.kd, move.phase)

    # -- which move comes next -----------------------------------------------------------------

    def _advance(self, state: RobotState, period_s: float) -> None:
        self._move_s += period_s
        move = self._moves[0]
        if move.phase is StandUpPhase.CHECK:
            standing = stands(state, self._stance, self._target, self._settings)
            self._steady_s = self._steady_s + period_s if standing else 0.0
            if self._steady_s >= self._settings.steady_s:
                self._ended = StandUpPhase.DONE
                return
        if move.phase in RISING and up_cos(state) < self._settings.fallen_cos:
            self._tangled = True  # what else would topple it
            self._try_again(state)
            return
        if move.phase is StandUpPhase.ROLL and self._has_rolled(state):
            self._plan_after(move.phase, state)
            return
        if self._move_s < move.duration_s and not self._is_over(move, state):
            return
        if len(self._moves) == 1 or self._turned_over(state):
            self._plan_after(move.phase, state)
        else:
            self._moves.popleft()
            self._move_s = 0.0

    def _is_over(self, move: Move, state: RobotState) -> bool:
        """Whether the move may end before its time: the goal is reached, or the legs are stuck."""
        if not move.until_reached:
            return False
        if falling(state, self._settings):
            return False  # the legs may be there, the trunk is not
        reached = np.abs(move.goal_rad - state.motor_angle_rad).max() < move.reached_rad
        # Legs that prop themselves or jam stop short of the goal.
        stuck = (
            move.phase in (StandUpPhase.GATHER, StandUpPhase.PROBE)
            and self._move_s > LEAST_S
            and np.abs(state.motor_velocity_rad_s).max() < STILL_RAD_S
        )
        return bool(reached or stuck)

    def _turned_over(self, state: RobotState) -> bool:
        """Whether legs on the way to be probed turned it over: nothing would prop them there."""
        return self._moves[1].phase is StandUpPhase.PROBE and not self._lies_flat(state)

    def _has_rolled(self, state: RobotState) -> bool:
        """Whether it lies flat, and otherwise than when the roll began."""
        up = up_cos(state)
        there = up if self._from_back else abs(up)
        return there > self._settings.flat_cos and calm(state, self._settings)

    def _plan_after(self, phase: StandUpPhase, state: RobotState) -> None:
        """The next moves, once the planned ones are over."""
        on_its_feet, flat_cos = upright(state, self._settings), self._settings.flat_cos
        turned = phase is StandUpPhase.PROBE and not self._lies_flat(state)
        if phase is StandUpPhase.GATHER or turned:
            self._on_belly = on_its_feet
        if phase is StandUpPhase.CHECK or (phase is StandUpPhase.ROLL and not on_its_feet):
            if phase is StandUpPhase.CHECK and on_its_feet:
                # The encoders can't show that a leg is the wrong way round.
                self._tangled = True
            self._try_again(state)
        elif phase is StandUpPhase.ROLL and not self._tangled:
            self._plan(self._library.fold())
        elif phase is StandUpPhase.ROLL:
            self._begin(state)
        elif phase is StandUpPhase.FOLD and (up_cos(state) > flat_cos or self._probes):
            self._plan(self._library.rise())
        elif phase is StandUpPhase.FOLD:
            self._tangled = True  # a folded leg that props the trunk up is the wrong way round
            self._begin(state)
        elif phase is StandUpPhase.PROBE and not turned and self._wrong(state).any():
            way = WHIPS[self._whips % len(WHIPS)]
            rng = self._rng if self._whips >= len(WHIPS) else None
            self._whips += 1
            self._plan(self._library.whip(*self._error(state), self._on_belly, way, rng))
        elif phase is StandUpPhase.WHIP and self._across(state).any():
            _, extension_error = self._error(state)
            self._plan(self._library.nudge(self._moves[0].goal_rad, extension_error))
        elif (phase is not StandUpPhase.PROBE or turned) and self._can_probe(state):
            self._probe()
        else:
            if phase is StandUpPhase.PROBE and not turned:
                self._tangled = False
            self._plan(self._library.fold() if on_its_feet else self._roll(state))

    def _try_again(self, state: RobotState) -> None:
        if self.attempts >= self._max_attempts:
            self._ended = StandUpPhase.FAILED
            return
        self.attempts += 1
        self._begin(state)

    def _begin(self, state: RobotState) -> None:
        """Plan the first moves of an attempt from the measured posture."""
        self._probes = 0
        self._on_belly = upright(state, self._settings)
        if self._can_probe(state):
            self._probe()
        elif leans(state, self._settings):
            self._plan(self._library.splay())
        elif self._tangled or out_of_range(state, self._body) or not self._on_belly:
            self._plan(self._library.gather())
        elif near_stance(state, self._stance, self._settings):
            self._plan(self._library.ready(self._target))
        else:
            self._plan(self._library.fold())

    def _probe(self) -> None:
        self._probes += 1
        self._plan(self._library.probe(self._on_belly))

    def _plan(self, moves: list[Move]) -> None:
        self._moves = deque(moves)
        self._move_s = 0.0
        self._steady_s = 0.0

    def _roll(self, state: RobotState) -> list[Move]:
        up = world_z_in_body(state.attitude_xyzw)
        on_back = self._from_back = bool(up[2] < -self._settings.back_cos)
        self._tangled |= not on_back  # those scripts whirl the legs
        near_is_left = bool(self._rng.integers(2)) if on_back else bool(up[1] < 0.0)
        scripts = FROM_BACK if on_back else FROM_SIDE
        self._rolls[on_back] += 1
        if self._rolls[on_back] == 1:
            return self._library.roll(scripts[0], near_is_left, from_home=on_back)
        # A repeated script would fail again: choose another, or vary this one.
        script = scripts[self._rng.integers(len(scripts))].varied(self._rng)
        return self._library.roll(script, near_is_left, from_home=on_back)

    def _balance(self, state: RobotState) -> FloatArray:
        """(8,) rad to add to the motors' goal: legs on the low side push, the others give."""
        s = self._settings
        up = world_z_in_body(state.attitude_xyzw)
        roll_rate, pitch_rate, _ = state.angular_velocity_rad_s
        left_high = s.balance * up[1] + s.balance_rate_s * roll_rate
        front_high = s.balance * up[0] - s.balance_rate_s * pitch_rate
        high = LEFT * left_high + FRONT * front_high
        extension = -np.clip(high, -s.balance_limit_rad, s.balance_limit_rad)
        return leg_to_motor(np.zeros(N_LEGS), extension)

    # -- sensor tests ------------------------------------------------------------------

    def _can_probe(self, state: RobotState) -> bool:
        """Whether legs have to be probed and the trunk lies flat enough for it."""
        return self._tangled and self._lies_flat(state) and self._probes < MAX_PROBES

    def _lies_flat(self, state: RobotState) -> bool:
        """Whether it lies as `_on_belly` says, so that its legs reach the ground as expected."""
        up = up_cos(state)
        return up > self._settings.upright_cos if self._on_belly else -up > self._settings.back_cos

    def _error(self, state: RobotState) -> tuple[FloatArray, FloatArray]:
        """(4,) swing and (4,) extension that the legs are off the goal of the move."""
        return motor_to_leg(state.motor_angle_rad - self._moves[0].goal_rad)

    def _wrong(self, state: RobotState) -> npt.NDArray[np.bool_]:
        return wrong_way_round(*self._error(state))

    def _across(self, state: RobotState) -> npt.NDArray[np.bool_]:
        """(4,) legs that should have closed and did not: their shanks lie across their cranks."""
        _, extension_error = self._error(state)
        return np.asarray(np.abs(extension_error) > JAMMED_RAD)

    def _tired(self, state: RobotState, move: Move, period_s: float) -> npt.NDArray[np.bool_]:
        """(8,) True for motors that were overloaded so long that they must yield."""
        angle, velocity = state.motor_angle_rad, state.motor_velocity_rad_s
        torque = motor_torque_nm(self._target, angle, velocity, move.kp, move.kd)
        strained = np.abs(torque) > 0.9 * self._body.overheat_torque_nm
        self._hot_s = np.where(strained, self._hot_s + period_s, 0.0)
        return np.asarray(self._hot_s > self._settings.hot_s)
