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
WEIGH_S = 0.32


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
        back_cos: minus the cosine of the tilt beyond which it lies on its back.
        flat_cos: the same for lying flat enough to weigh the legs.
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
    flat_cos: float = 0.85
    level_rad: float = 0.25
    calm_rad_s: float = 1.0
    holds_rad: float = 0.6
    carries_rad: float = 0.2
    steady_s: float = 0.1
    hot_s: float = 0.7


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
        until_reached: ends as soon as the motors are there.
    """

    phase: StandUpPhase
    goal_rad: FloatArray
    duration_s: float
    rate_rad_s: float
    kp: float
    kd: float
    until_reached: bool = False


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
        ease = Move(StandUpPhase.READY, stance, duration_s, rate, kp, kd)
        return [ease, self._check()]

    def rise(self) -> list[Move]:
        """From the belly: fold under the body, extend, check."""
        body, rate = self._body, self._settings.rise_rate_rad_s
        fold = body.extension_min_rad + 0.2
        swing = body.stance_swing_rad
        return [
            self._move(StandUpPhase.RISE, swing, fold, 0.6, rate, until_reached=True),
            self._move(StandUpPhase.RISE, swing, body.stance_extension_rad, 0.4, rate),
            self._check(),
        ]

    def gather(self) -> list[Move]:
        """All legs home, wherever their motors wound to."""
        rate = self._settings.gather_rate_rad_s
        return [self._move(StandUpPhase.GATHER, 0.0, 1.0, 1.0, rate, until_reached=True)]

    def gather_to_weigh(self, on_belly: bool) -> list[Move]:
        """All legs to the posture in which they are weighed."""
        rate, swing = self._settings.gather_rate_rad_s, self._swing(LEAN_RAD, on_belly)
        return [
            self._move(
                StandUpPhase.GATHER, swing, WEIGH_EXTENSION_RAD, 0.8, rate, until_reached=True
            )
        ]

    def weigh(self, on_belly: bool) -> list[Move]:
        """Hold the legs leaning, by a weak spring."""
        swing = np.full(N_LEGS, self._swing(LEAN_RAD, on_belly))
        goal = leg_to_motor(swing, np.full(N_LEGS, WEIGH_EXTENSION_RAD))
        s = self._settings
        return [Move(StandUpPhase.WEIGH, goal, WEIGH_S, s.gather_rate_rad_s, WEIGH_KP, s.kd)]

    def whip(self, wrong: BoolArray, on_belly: bool) -> list[Move]:
        """Turns the shanks of the legs `wrong` (4,) about; the others stay."""
        # Angle from the vertical, extension, time, rate. The numbers are from a search in the twin.
        steps = ((-1.2, 2.2, 0.2, 25.0), (-1.2, 3.13, 0.1, 25.0), (0.1, 3.13, 0.06, 45.0))
        moves = []
        for angle, extension, duration_s, rate in (*steps, (1.35, 2.0, 0.12, 80.0)):
            swing = np.where(wrong, self._swing(angle, on_belly), self._swing(LEAN_RAD, on_belly))
            goal = leg_to_motor(swing, np.where(wrong, extension, WEIGH_EXTENSION_RAD))
            s = self._settings
            moves.append(Move(StandUpPhase.WHIP, goal, duration_s, rate, s.kp, s.kd))
        return moves

    def roll(self, script: RollOver, near_is_left: bool) -> list[Move]:
        """The phases of a roll-over."""
        s = self._settings
        return [
            Move(
                StandUpPhase.ROLL,
                leg_to_motor(*phase.legs(near_is_left)),
                phase.duration_s,
                script.rate_rad_s,
                s.kp,
                s.kd,
            )
            for phase in script.phases
        ]

    def _check(self) -> Move:
        # With the stiffness of the walk, so that the hand-over does not jolt; but better damped.
        stance, s = self._body.stance_motor_rad(), self._settings
        return Move(StandUpPhase.CHECK, stance, 0.6, s.rise_rate_rad_s, self._body.kp, s.kd)

    def _move(
        self,
        phase: StandUpPhase,
        swing_rad: float,
        extension_rad: float,
        duration_s: float,
        rate_rad_s: float,
        until_reached: bool = False,
    ) -> Move:
        goal = leg_to_motor(np.full(N_LEGS, swing_rad), np.full(N_LEGS, extension_rad))
        s = self._settings
        return Move(phase, goal, duration_s, rate_rad_s, s.kp, s.kd, until_reached)

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
    return np.asarray((-swing_error_rad if on_belly else swing_error_rad) > 0.0)
