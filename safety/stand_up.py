# SPDX-License-Identifier: MIT
"""The scripted stand-up: from any posture to the stance, with feedback from IMU and encoders.

Ha et al. 2020 (arXiv 2002.08550, section 4.3) reset their robot between roll-outs by a script. This
one is a state machine, pure of I/O, called once per control period:

    READY      upright with its legs in order: ease to the stance. The usual case.
    GATHER     down: bring the legs home, which also unwinds motors that turned over.
    ROLL       on its back or side: a script of `safety.roll_over`, or its mirror image.
    UNTANGLE   on its belly: open all legs to the sky (see `_untangle`).
    RISE       on its belly: fold under the body, then extend.
    CHECK      level, calm, and the legs carry the weight: done. Otherwise the next attempt.

Every move has a time limit, so that it ends after `max_attempts` whatever the robot does.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hardware.body import N_LEGS, N_MOTORS, Body, leg_to_motor, motor_to_leg
from hardware.robot import Implausible, RobotState
from hardware.rotation import roll_pitch_yaw, world_z_in_body
from safety.limits import motor_torque_nm
from safety.roll_over import FROM_BACK, FROM_SIDE, RollOver

FloatArray = npt.NDArray[np.float64]


class StandUpPhase(enum.Enum):
    """What the script is doing; see the module's docstring."""

    READY = "ready"
    GATHER = "gather"
    ROLL = "roll"
    UNTANGLE = "untangle"
    RISE = "rise"
    CHECK = "check"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StandUpCommand:
    """What to send to the motors now.

    Attributes:
        motor_angle_rad: (8,) targets, a new array; moves by at most the script's rate.
        kp: PWM per rad.
        kd: PWM per rad/s.
        phase: what the script is doing.
        done: the robot stands; take over.
        failed: all attempts are used up; settle and wait, or ask a person.
    """

    motor_angle_rad: FloatArray
    kp: float
    kd: float
    phase: StandUpPhase
    done: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class StandUpSettings:
    """Numbers of the script.

    Attributes:
        kp: proportional gain while the robot is down, PWM per rad.
        kd: derivative gain while the robot is down, PWM per rad/s.
        gather_rate_rad_s: speed of the motor targets on the way home.
        rise_rate_rad_s: speed of the motor targets while rising.
        upright_cos: cosine of the tilt up to which the robot counts as upright.
        back_cos: minus the cosine of the tilt beyond which it lies on its back.
        level_rad: largest roll and pitch of a robot that stands.
        calm_rad_s: largest angular rate of a robot that stands.
        holds_rad: largest error of a motor in the stance.
        carries_rad: smallest sum of the legs' sag (4 legs, extension) that shows they carry weight.
        steady_s: how long all this has to hold.
        hot_s: how long a motor may strain before its target gives way.
    """

    kp: float = 1.2
    kd: float = 0.02
    gather_rate_rad_s: float = 20.0
    rise_rate_rad_s: float = 8.0
    upright_cos: float = 0.75
    back_cos: float = 0.6
    level_rad: float = 0.25
    calm_rad_s: float = 1.0
    holds_rad: float = 0.6
    carries_rad: float = 0.2
    steady_s: float = 0.1
    hot_s: float = 0.7


@dataclass(frozen=True, slots=True)
class _Move:
    """Targets to go to, at a rate, until reached or out of time."""

    phase: StandUpPhase
    goal_rad: FloatArray
    duration_s: float
    rate_rad_s: float
    kp: float
    kd: float
    until_reached: bool = False


REACHED_RAD = 0.3
LONGEST_PERIOD_S = 0.1  # a late call moves the targets no further than this long would
GATHER_S = 1.0
CHECK_S = 0.6


class StandUp:
    """Gets a robot on its feet.

    Args:
        body: stance, gains and limits.
        rng: chooses scripts; attempts differ, and a seed repeats them.
        max_attempts: tries before `failed`.
        settings: numbers of the script.

    Attributes:
        attempts: tries used since `reset`.
    """

    def __init__(
        self,
        body: Body,
        rng: np.random.Generator,
        max_attempts: int = 5,
        settings: StandUpSettings | None = None,
    ) -> None:
        if max_attempts < 1:
            raise ValueError(f"max_attempts is {max_attempts}; at least one is needed")
        self.attempts = 0
        self._body = body
        self._rng = rng
        self._max_attempts = max_attempts
        self._settings = settings or StandUpSettings()
        self._stance = body.stance_motor_rad()
        self._moves: deque[_Move] = deque()
        self._target = self._stance
        self._tangled = False
        self._ended: StandUpPhase | None = None
        self._last_s: float | None = None
        self._move_s = 0.0
        self._steady_s = 0.0
        self._hot_s = np.zeros(N_MOTORS)

    def reset(self, state: RobotState) -> None:
        """Starts over from the measured posture.

        Raises:
            Implausible: the state is not finite.
        """
        _check_finite(state)
        self.attempts = 1
        self._target = state.motor_angle_rad.copy()
        self._ended = None
        self._last_s = None
        self._hot_s[:] = 0.0
        self._tangled = self._legs_tangled(state)
        self._begin(state)

    def step(self, state: RobotState, time_s: float) -> StandUpCommand:
        """The command for this control period.

        Args:
            state: the newest measurement.
            time_s: now, monotonic.

        Raises:
            Implausible: the state is not finite.
        """
        _check_finite(state)
        period_s = 0.0 if self._last_s is None else time_s - self._last_s
        period_s = min(max(period_s, 0.0), LONGEST_PERIOD_S)
        self._last_s = time_s
        if self._ended is None:
            self._advance(state, period_s)
        move = self._moves[0]
        if self._ended is not None:
            return StandUpCommand(
                self._target.copy(),
                move.kp,
                move.kd,
                self._ended,
                done=self._ended is StandUpPhase.DONE,
                failed=self._ended is StandUpPhase.FAILED,
            )
        step = move.rate_rad_s * period_s
        self._target = self._target + np.clip(move.goal_rad - self._target, -step, step)
        sent = self._spare_hot_motors(state, move, period_s)
        return StandUpCommand(sent, move.kp, move.kd, move.phase)

    # -- which move comes next -----------------------------------------------------------------

    def _advance(self, state: RobotState, period_s: float) -> None:
        self._move_s += period_s
        move = self._moves[0]
        if move.phase is StandUpPhase.CHECK:
            self._steady_s = self._steady_s + period_s if self._stands(state) else 0.0
            if self._steady_s >= self._settings.steady_s:
                self._ended = StandUpPhase.DONE
                return
        reached = move.until_reached and bool(
            np.abs(move.goal_rad - state.motor_angle_rad).max() < REACHED_RAD
        )
        if self._move_s < move.duration_s and not reached:
            return
        if len(self._moves) > 1:
            self._moves.popleft()
        else:
            self._plan_after(move.phase, state)
        self._move_s = 0.0
        self._steady_s = 0.0

    def _plan_after(self, phase: StandUpPhase, state: RobotState) -> None:
        """The next moves, once the planned ones are over."""
        upright = self._upright(state)
        if phase is StandUpPhase.CHECK or (phase is StandUpPhase.ROLL and not upright):
            if self.attempts >= self._max_attempts:
                self._ended = StandUpPhase.FAILED
                return
            self.attempts += 1
            # A leg that stands the wrong way round looks fine to its encoders.
            self._tangled = self._tangled or phase is StandUpPhase.CHECK
            self._begin(state)
        elif upright:
            self._plan(self._rise())
        else:
            self._plan(self._roll(state))

    def _begin(self, state: RobotState) -> None:
        if not self._upright(state):
            self._plan([self._gather()])
        elif self._tangled:
            self._plan(self._rise())
        else:
            self._plan(self._ready(state))

    def _plan(self, moves: list[_Move]) -> None:
        self._moves = deque(moves)
        self._move_s = 0.0
        self._steady_s = 0.0

    # -- the moves -----------------------------------------------------------------------------

    def _move(
        self,
        phase: StandUpPhase,
        swing_rad: float,
        extension_rad: float,
        duration_s: float,
        rate_rad_s: float,
        until_reached: bool = False,
    ) -> _Move:
        goal = leg_to_motor(np.full(N_LEGS, swing_rad), np.full(N_LEGS, extension_rad))
        s = self._settings
        return _Move(phase, goal, duration_s, rate_rad_s, s.kp, s.kd, until_reached)

    def _gather(self) -> _Move:
        rate = self._settings.gather_rate_rad_s
        return self._move(StandUpPhase.GATHER, 0.0, 1.0, GATHER_S, rate, until_reached=True)

    def _roll(self, state: RobotState) -> list[_Move]:
        up = world_z_in_body(state.attitude_xyzw)
        if up[2] < -self._settings.back_cos:
            script: RollOver = FROM_BACK[self._rng.integers(len(FROM_BACK))]
            near_is_left = bool(self._rng.integers(2))
        else:
            script = FROM_SIDE[self._rng.integers(len(FROM_SIDE))]
            near_is_left = bool(up[1] < 0.0)
        s = self._settings
        moves = []
        for phase in script.phases:
            goal = leg_to_motor(*phase.legs(near_is_left))
            moves.append(
                _Move(StandUpPhase.ROLL, goal, phase.duration_s, script.rate_rad_s, s.kp, s.kd)
            )
        return moves

    def _untangle(self) -> list[_Move]:
        """Opens all legs to the sky while the robot lies on its belly.

        Where both motors of a leg point the same way (extension 0 or pi), the two shanks turn
        freely about the knees, and the foot may end up on the wrong side. Extended beyond pi and
        back, with nothing in its way, the leg closes the right way round again.
        """
        rate = self._settings.gather_rate_rad_s
        return [
            self._move(StandUpPhase.UNTANGLE, np.pi, 0.5, 0.7, rate, until_reached=True),
            self._move(StandUpPhase.UNTANGLE, np.pi, 3.3, 0.4, rate),
            self._move(StandUpPhase.UNTANGLE, np.pi, 1.0, 0.2, rate),
        ]

    def _rise(self) -> list[_Move]:
        moves = self._untangle() if self._tangled else []
        body, rate = self._body, self._settings.rise_rate_rad_s
        fold = body.extension_min_rad + 0.2
        return [
            *moves,
            self._move(StandUpPhase.RISE, body.stance_swing_rad, fold, 0.6, rate, True),
            self._move(
                StandUpPhase.RISE, body.stance_swing_rad, body.stance_extension_rad, 0.4, rate
            ),
            self._check(),
        ]

    def _ready(self, state: RobotState) -> list[_Move]:
        """Straight to the stance, with the time it takes at the rate of rising."""
        rate = self._settings.rise_rate_rad_s
        largest = float(np.abs(self._stance - self._target).max())
        ease = _Move(
            StandUpPhase.READY, self._stance, largest / rate, rate, self._body.kp, self._body.kd
        )
        return [ease, self._check()]

    def _check(self) -> _Move:
        # With the gains of the walk, so that the hand-over does not jolt.
        return _Move(
            StandUpPhase.CHECK,
            self._stance,
            CHECK_S,
            self._settings.rise_rate_rad_s,
            self._body.kp,
            self._body.kd,
        )

    # -- what the sensors say ------------------------------------------------------------------

    def _upright(self, state: RobotState) -> bool:
        return float(world_z_in_body(state.attitude_xyzw)[2]) > self._settings.upright_cos

    def _legs_tangled(self, state: RobotState) -> bool:
        swing, extension = motor_to_leg(state.motor_angle_rad)
        body = self._body
        margin = 0.1
        return bool(
            (np.abs(swing) > 0.5 * np.pi).any()
            or (extension < body.extension_min_rad - margin).any()
            or (extension > body.extension_max_rad + margin).any()
        )

    def _stands(self, state: RobotState) -> bool:
        s = self._settings
        roll, pitch, _ = roll_pitch_yaw(state.attitude_xyzw)
        error = self._stance - state.motor_angle_rad
        _, sag = motor_to_leg(error)
        return bool(
            self._upright(state)
            and max(abs(roll), abs(pitch)) < s.level_rad
            and np.abs(state.angular_velocity_rad_s).max() < s.calm_rad_s
            and np.abs(error).max() < s.holds_rad
            and sag.sum() > s.carries_rad
        )

    def _spare_hot_motors(self, state: RobotState, move: _Move, period_s: float) -> FloatArray:
        """Takes back the target of a motor that strains, before its board switches it off."""
        angle, velocity = state.motor_angle_rad, state.motor_velocity_rad_s
        torque = motor_torque_nm(self._target, angle, velocity, move.kp, move.kd)
        strained = np.abs(torque) > 0.9 * self._body.overheat_torque_nm
        self._hot_s = np.where(strained, self._hot_s + period_s, 0.0)
        tired = self._hot_s > self._settings.hot_s
        self._target[tired] = angle[tired]
        return self._target.copy()


def _check_finite(state: RobotState) -> None:
    for name in (
        "motor_angle_rad",
        "motor_velocity_rad_s",
        "attitude_xyzw",
        "angular_velocity_rad_s",
    ):
        value = getattr(state, name)
        if not np.isfinite(value).all():
            raise Implausible(f"stand-up: {name} is not finite ({value}); stop the robot")
