# SPDX-License-Identifier: MIT
"""The moves of the stand-up: where the legs go, how fast, for how long. Pure data and geometry.

A leg of the Minitaur is a kite: two cranks on one axle, two shanks that meet in the foot. Where its
cranks lie on each other (extension 0 or pi) the shanks turn freely about the knees, and a leg that
whirled through that in a fall may close the wrong way round: the foot on the hip's other side, and
nothing of it in the motor angles. So legs that got out of their range are weighed: held to the sky,
leaning, by a weak spring, a wrong leg leans to the other side than a right one. Those are whipped:
opened to pi, swung over the top, closed on the way, which turns the shanks about.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hardware.body import N_LEGS, Body, leg_to_motor
from safety.roll_over import RollOver

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Weighing: from the vertical, toward the robot's back when it lies on its back (mirrored on its
# belly, which keeps the swing within +- pi).
LEAN_RAD = 1.0
WEIGH_EXTENSION_RAD = 2.0
WEIGH_KP = 0.25
WEIGH_S = 0.36
# Legs lean by 0.05 to 0.2 the right way, and by -0.02 to 0.15 the wrong way round (the trunk is
# rarely level when it is weighed): what does not clearly lean right is wrong.
RIGHT_LEAN_RAD = 0.025


class StandUpPhase(enum.Enum):
    """What the script is doing; see `safety.stand_up`."""

    READY = "ready"
    GATHER = "gather"
    WEIGH = "weigh"
    WHIP = "whip"
    ROLL = "roll"
    RISE = "rise"
    CHECK = "check"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class StandUpSettings:
    """Numbers of the script.

    Attributes:
        kp: proportional gain while the robot is down, PWM per rad.
        kd: derivative gain while the robot is down, PWM per rad/s.
        gather_rate_rad_s: speed of the motor targets on the way home.
        rise_rate_rad_s: speed of the motor targets while rising.
        upright_cos: cosine of the tilt up to which the robot counts as upright.
        near_rad: largest way of a motor to the stance on which the feet may slide.
        near_cos: cosine of the largest tilt at which they may.
        fallen_cos: the same beyond which a robot that rises has fallen over.
        back_cos: minus the cosine of the tilt beyond which it lies on its back.
        level_rad: largest roll and pitch of a robot that stands.
        calm_rad_s: largest angular rate of a robot that stands.
        holds_rad: largest error of a motor in the stance.
        carries_rad: smallest sum of the legs' sag (4 legs, extension) that shows they carry weight.
        steady_s: how long all this has to hold.
        hot_s: how long a motor may strain before its target gives way.
        balance: extension per tilt, rad per rad, by which low legs push and high legs give.
        balance_rate_s: the same per angular rate, s.
        balance_limit_rad: largest such extension.
    """

    kp: float = 1.2
    kd: float = 0.02
    gather_rate_rad_s: float = 20.0
    rise_rate_rad_s: float = 8.0
    upright_cos: float = 0.7
    near_rad: float = 0.8
    near_cos: float = 0.985
    fallen_cos: float = 0.5
    back_cos: float = 0.6
    level_rad: float = 0.25
    calm_rad_s: float = 1.0
    holds_rad: float = 0.6
    carries_rad: float = 0.2
    steady_s: float = 0.1
    hot_s: float = 0.6
    balance: float = 1.0
    balance_rate_s: float = 0.1
    balance_limit_rad: float = 0.6


@dataclass(frozen=True, slots=True)
class Move:
    """Targets to go to, at a rate, until reached or out of time.

    Attributes:
        phase: what it is part of.
        goal_rad: (8,) motor angles.
        duration_s: after which it ends.
        rate_rad_s: speed of each motor's target.
        kp: PWM per rad.
        kd: PWM per rad/s.
        until_reached: ends as soon as the motors are there and the trunk is calm.
        balanced: low legs push and high legs give, to keep the trunk level.
    """

    phase: StandUpPhase
    goal_rad: FloatArray
    duration_s: float
    rate_rad_s: float
    kp: float
    kd: float
    until_reached: bool = False
    balanced: bool = False


class Moves:
    """Builds the moves for a body.

    Args:
        body: stance, range and gains of the walk.
        settings: gains and rates of the script.
    """

    def __init__(self, body: Body, settings: StandUpSettings) -> None:
        self._body = body
        self._settings = settings

    def ready(self, target_rad: FloatArray) -> list[Move]:
        """Straight to the stance from `target_rad` (8,), and the check."""
        stance, rate = self._body.stance_motor_rad(), self._settings.rise_rate_rad_s
        duration_s = float(np.abs(stance - target_rad).max()) / rate
        kp, kd = self._body.kp, self._settings.kd
        ease = Move(StandUpPhase.READY, stance, duration_s, rate, kp, kd, balanced=True)
        return [ease, self._check()]

    def rise(self) -> list[Move]:
        """From the belly: fold under the body, extend, check."""
        body, rate = self._body, self._settings.rise_rate_rad_s
        fold = body.extension_min_rad + 0.2
        swing = body.stance_swing_rad
        return [
            self._move(StandUpPhase.RISE, swing, fold, 0.6, 2 * rate, until_reached=True),
            self._move(
                StandUpPhase.RISE, swing, body.stance_extension_rad, 0.4, rate, balanced=True
            ),
            self._check(),
        ]

    def gather(self) -> list[Move]:
        """All legs home, wherever their motors wound to."""
        rate = self._settings.gather_rate_rad_s
        return [self._move(StandUpPhase.GATHER, 0.0, 1.0, 1.0, rate, until_reached=True)]

    def weigh(self, on_belly: bool, from_anywhere: bool) -> list[Move]:
        """Hold the legs to the sky, leaning, by a weak spring.

        Args:
            on_belly: where the sky is.
            from_anywhere: the legs have to get there first.
        """
        s = self._settings
        rate, swing = s.gather_rate_rad_s, self._swing(LEAN_RAD, on_belly)
        bring = self._move(
            StandUpPhase.GATHER, swing, WEIGH_EXTENSION_RAD, 0.8, rate, until_reached=True
        )
        hold = Move(StandUpPhase.WEIGH, bring.goal_rad, WEIGH_S, rate, WEIGH_KP, s.kd)
        return [bring, hold] if from_anywhere else [hold]

    def whip(
        self, wrong: BoolArray, on_belly: bool, rng: np.random.Generator | None = None
    ) -> list[Move]:
        """Turns the shanks of the legs `wrong` (4,) about; the others stay.

        Args:
            wrong: which legs.
            on_belly: where the sky is.
            rng: varies the whip, for legs that it did not help before.
        """
        # Angles from the vertical, extensions, times, rates: lean deep, open, swing over the top,
        # close on the way down. From a search in the twin (CMA-ES) on legs of either kind, on floor
        # and mattress, back and belly: turns 5 wrong legs in 6, and spoils 1 right one in 6.
        change = np.zeros(3) if rng is None else rng.uniform(-1.0, 1.0, size=3)
        steps = (
            (-1.66, 2.12, 0.25, 23.0),
            (-2.05 + 0.15 * change[0], 3.2, 0.29 + 0.06 * change[1], 24.0),
            (-1.04 + 0.2 * change[2], 3.07, 0.11, 45.0),
            (0.94, 2.46, 0.16, 75.0),
            (LEAN_RAD, WEIGH_EXTENSION_RAD, 0.2, 25.0),
        )
        s = self._settings
        moves = []
        for angle, extension, duration_s, rate in steps:
            swing = np.where(wrong, self._swing(angle, on_belly), self._swing(LEAN_RAD, on_belly))
            goal = leg_to_motor(swing, np.where(wrong, extension, WEIGH_EXTENSION_RAD))
            moves.append(Move(StandUpPhase.WHIP, goal, duration_s, rate, s.kp, s.kd))
        return moves

    def roll(self, script: RollOver, near_is_left: bool) -> list[Move]:
        """The phases of a roll-over, from the posture in which they were found."""
        s = self._settings
        moves = [
            self._move(StandUpPhase.ROLL, 0.0, 1.0, 0.4, s.gather_rate_rad_s, until_reached=True)
        ]
        for phase in script.phases:
            goal, rate = leg_to_motor(*phase.legs(near_is_left)), script.rate_rad_s
            moves.append(Move(StandUpPhase.ROLL, goal, phase.duration_s, rate, s.kp, s.kd))
        return moves

    def _check(self) -> Move:
        # With the stiffness of the walk, so that the hand-over does not jolt; but better damped.
        stance, s = self._body.stance_motor_rad(), self._settings
        rate = s.rise_rate_rad_s
        return Move(StandUpPhase.CHECK, stance, 0.6, rate, self._body.kp, s.kd, balanced=True)

    def _move(
        self,
        phase: StandUpPhase,
        swing_rad: float,
        extension_rad: float,
        duration_s: float,
        rate_rad_s: float,
        until_reached: bool = False,
        balanced: bool = False,
    ) -> Move:
        goal = leg_to_motor(np.full(N_LEGS, swing_rad), np.full(N_LEGS, extension_rad))
        s = self._settings
        return Move(phase, goal, duration_s, rate_rad_s, s.kp, s.kd, until_reached, balanced)

    @staticmethod
    def _swing(from_vertical_rad: float, on_belly: bool) -> float:
        """Swing of a leg that points to the sky, leaning by an angle."""
        return math.pi - from_vertical_rad if on_belly else from_vertical_rad


def wrong_way_round(swing_error_rad: FloatArray, on_belly: bool) -> BoolArray:
    """Which legs lean the wrong way in a weighing.

    Args:
        swing_error_rad: (4,) mean of measured minus commanded swing.
        on_belly: as in `Moves.weigh`.

    Returns:
        (4,) True where the leg has to be whipped.
    """
    return np.asarray((swing_error_rad if on_belly else -swing_error_rad) < RIGHT_LEAN_RAD)
